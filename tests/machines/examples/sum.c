// A client of the trusted application that samples/KvmVmm has with --tee software: adds numbers, and has text echoed.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>

// samples/KvmVmm/Tee/SumApplication.cs
static const TEEC_UUID application = {0x3c2f1b0e, 0x5a4d, 0x4f6e, {0x8b, 0x7c, 0x9d, 0x0e, 0x1f, 0x2a, 0x3b, 0x4c}};
enum { COMMAND_ADD = 0, COMMAND_ECHO = 1 };

static int fail(const char *what, TEEC_Result result, uint32_t origin)
{
	fprintf(stderr, "%s: result %08x, origin %u\n", what, result, origin);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: %s NUMBER NUMBER TEXT\n", argv[0]);
		return 2;
	}

	TEEC_Context context;
	TEEC_Session session;
	uint32_t origin = 0;
	TEEC_Result result = TEEC_InitializeContext(NULL, &context);
	if (result != TEEC_SUCCESS)
		return fail("TEEC_InitializeContext", result, TEEC_ORIGIN_API);
	result = TEEC_OpenSession(&context, &session, &application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);
	if (result != TEEC_SUCCESS)
		return fail("TEEC_OpenSession", result, origin);

	TEEC_Operation addition = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		.params[0].value = {strtoul(argv[1], NULL, 0), strtoul(argv[2], NULL, 0)},
	};
	result = TEEC_InvokeCommand(&session, COMMAND_ADD, &addition, &origin);
	if (result != TEEC_SUCCESS)
		return fail("TEEC_InvokeCommand (add)", result, origin);

	char answer[256] = {0};
	TEEC_Operation echo = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE),
		.params[0].tmpref = {argv[3], strlen(argv[3])},
		.params[1].tmpref = {answer, sizeof answer - 1},
	};
	result = TEEC_InvokeCommand(&session, COMMAND_ECHO, &echo, &origin);
	if (result != TEEC_SUCCESS)
		return fail("TEEC_InvokeCommand (echo)", result, origin);

	printf("%u %s\n", addition.params[0].value.a, answer);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	return 0;
}
