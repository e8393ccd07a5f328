// A client of the example application secure_storage, in samples/KvmVmm and samples/TeeDaemon with --storage.
// usage: objects write NAME TEXT | read NAME | delete NAME
// A failure is the result on standard output, in hexadecimal.

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <tee_client_api.h>

// samples/ExampleApplications/SecureStorageApplication.cs
static const TEEC_UUID application = {0xf4e750bb, 0x1437, 0x4fbf, {0x87, 0x85, 0x8d, 0x35, 0x80, 0xc3, 0x49, 0x94}};
enum { COMMAND_READ = 0, COMMAND_WRITE = 1, COMMAND_DELETE = 2 };

int main(int argc, char **argv)
{
	static char buffer[65536];
	int writes = argc == 4 && strcmp(argv[1], "write") == 0;
	int reads = argc == 3 && strcmp(argv[1], "read") == 0;
	int deletes = argc == 3 && strcmp(argv[1], "delete") == 0;
	if (!writes && !reads && !deletes) {
		fprintf(stderr, "usage: %s write NAME TEXT | read NAME | delete NAME\n", argv[0]);
		return 2;
	}

	TEEC_Context context;
	TEEC_Session session;
	uint32_t origin = 0;
	TEEC_Result result = TEEC_InitializeContext(NULL, &context);
	if (result == TEEC_SUCCESS) {
		result = TEEC_OpenSession(&context, &session, &application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);
		if (result != TEEC_SUCCESS)
			TEEC_FinalizeContext(&context);
	}
	if (result != TEEC_SUCCESS) {
		printf("%08x\n", result);
		return 1;
	}

	uint32_t second = writes ? TEEC_MEMREF_TEMP_INPUT : reads ? TEEC_MEMREF_TEMP_OUTPUT : TEEC_NONE;
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, second, TEEC_NONE, TEEC_NONE),
		.params[0].tmpref = {argv[2], strlen(argv[2])},
	};
	if (writes)
		operation.params[1].tmpref = (TEEC_TempMemoryReference){argv[3], strlen(argv[3])};
	if (reads)
		operation.params[1].tmpref = (TEEC_TempMemoryReference){buffer, sizeof buffer};
	result = TEEC_InvokeCommand(
		&session, writes ? COMMAND_WRITE : reads ? COMMAND_READ : COMMAND_DELETE, &operation, &origin);
	if (result != TEEC_SUCCESS)
		printf("%08x\n", result);
	else if (reads)
		printf("%.*s\n", (int)operation.params[1].tmpref.size, buffer);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	return result != TEEC_SUCCESS;
}
