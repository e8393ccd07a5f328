// A call of a trusted application (xtest's "os_test") that waits and does nothing else.
//   usage: wait-in-tee MILLISECONDS

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <tee_client_api.h>

// ta/os_test/include/ta_os_test.h of OP-TEE/optee_test
static const TEEC_UUID os_test = {0x5b9e0e40, 0x2636, 0x11e1, {0xad, 0x9e, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b}};
enum { TA_OS_TEST_CMD_WAIT = 9 };

static void must(const char *what, TEEC_Result result, uint32_t origin)
{
	if (result == TEEC_SUCCESS)
		return;
	fprintf(stderr, "%s: result %08x, origin %u\n", what, result, origin);
	exit(1);
}

int main(int argc, char **argv)
{
	TEEC_Context context;
	TEEC_Session session;
	uint32_t origin = 0;
	TEEC_Operation operation = {.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE)};

	if (argc != 2) {
		fprintf(stderr, "usage: wait-in-tee MILLISECONDS\n");
		return 2;
	}
	operation.params[0].value.a = atoi(argv[1]);
	must("TEEC_InitializeContext", TEEC_InitializeContext(NULL, &context), 0);
	must("TEEC_OpenSession", TEEC_OpenSession(&context, &session, &os_test, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin),
	     origin);
	printf("waits\n");
	fflush(stdout);
	must("TEEC_InvokeCommand", TEEC_InvokeCommand(&session, TA_OS_TEST_CMD_WAIT, &operation, &origin), origin);
	printf("done\n");
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	return 0;
}
