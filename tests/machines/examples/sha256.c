// A client of a trusted application, in the fewest lines: has xtest's application "crypt" compute the SHA-256 of the
// first argument. tee-supplicant loads that application into OP-TEE.

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <tee_client_api.h>

// ta/crypt/include/ta_crypt.h of OP-TEE/optee_test
static const TEEC_UUID crypt = {0xcb3e5ba0, 0xadf1, 0x11e0, {0x99, 0x8b, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b}};
enum { TA_CRYPT_CMD_SHA256 = 2 };

static int fail(const char *what, TEEC_Result result, uint32_t origin)
{
	fprintf(stderr, "%s: result %08x, origin %u\n", what, result, origin);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s TEXT\n", argv[0]);
		return 2;
	}

	uint8_t digest[32];
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE),
		.params[0].tmpref = {argv[1], strlen(argv[1])},
		.params[1].tmpref = {digest, sizeof digest},
	};
	TEEC_Context context;
	TEEC_Session session;
	uint32_t origin = 0;

	TEEC_Result result = TEEC_InitializeContext(NULL, &context);
	if (result != TEEC_SUCCESS)
		return fail("TEEC_InitializeContext", result, TEEC_ORIGIN_API);
	result = TEEC_OpenSession(&context, &session, &crypt, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);
	if (result != TEEC_SUCCESS)
		return fail("TEEC_OpenSession", result, origin);
	result = TEEC_InvokeCommand(&session, TA_CRYPT_CMD_SHA256, &operation, &origin);
	if (result != TEEC_SUCCESS)
		return fail("TEEC_InvokeCommand", result, origin);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);

	for (size_t i = 0; i < sizeof digest; i++)
		printf("%02x", digest[i]);
	printf("\n");
	return 0;
}
