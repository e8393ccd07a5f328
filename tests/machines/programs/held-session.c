// A session with xtest's application "crypt", and memory that is registered once, which a client uses again and again
// while its guest is saved and restored: registered memory must have the digest of temporary memory with the same
// bytes.
//   usage: held-session PROGRESS STOP
// PROGRESS is a file that gets the number of rounds, and how many sessions have died: their commands were answered with
// TEE_ERROR_TARGET_DEAD by the TEE. For each the client opens another one. When the file STOP exists, it closes what it
// has and prints these numbers.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>
#include <unistd.h>

// ta/crypt/include/ta_crypt.h of OP-TEE/optee_test
static const TEEC_UUID application = {0xcb3e5ba0, 0xadf1, 0x11e0, {0x99, 0x8b, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b}};
enum { TA_CRYPT_CMD_SHA256 = 2 };

enum { SIZE = 20000, OFFSET = 4096, DIGEST = 32, PAUSE = 20000 }; // bytes, microseconds

static TEEC_Context context;
static TEEC_Session session;

static void must(const char *what, int holds, unsigned int first, unsigned int second)
{
	if (holds)
		return;
	printf("%s: %08x, %08x\n", what, first, second);
	exit(1);
}

static void open_session(void)
{
	uint32_t origin = 0;
	TEEC_Result result = TEEC_OpenSession(&context, &session, &application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);
	must("TEEC_OpenSession", result == TEEC_SUCCESS, result, origin);
}

// Returns whether the session lives.
static int hash(TEEC_Operation *operation)
{
	uint32_t origin = 0;
	TEEC_Result result = TEEC_InvokeCommand(&session, TA_CRYPT_CMD_SHA256, operation, &origin);
	if (result == TEEC_ERROR_TARGET_DEAD && origin == TEEC_ORIGIN_TEE)
		return 0;
	must("TEEC_InvokeCommand", result == TEEC_SUCCESS, result, origin);
	return 1;
}

static void write_progress(const char *path, unsigned int rounds, unsigned int deaths)
{
	char unfinished[256];
	snprintf(unfinished, sizeof unfinished, "%s.new", path);
	FILE *file = fopen(unfinished, "w");
	must("the file PROGRESS", file != NULL, 0, 0);
	fprintf(file, "%u %u\n", rounds, deaths);
	fclose(file);
	rename(unfinished, path);
}

int main(int argc, char **argv)
{
	static uint8_t bytes[SIZE + OFFSET], temporary[DIGEST];
	TEEC_SharedMemory content = {.buffer = bytes, .size = sizeof bytes, .flags = TEEC_MEM_INPUT};
	TEEC_SharedMemory digest = {.size = DIGEST, .flags = TEEC_MEM_OUTPUT};
	unsigned int rounds = 0, deaths = 0;
	if (argc != 3) {
		fprintf(stderr, "usage: %s PROGRESS STOP\n", argv[0]);
		return 2;
	}

	TEEC_Result result = TEEC_InitializeContext(NULL, &context);
	must("TEEC_InitializeContext", result == TEEC_SUCCESS, result, 0);
	open_session();
	must("TEEC_RegisterSharedMemory", TEEC_RegisterSharedMemory(&context, &content) == TEEC_SUCCESS, 0, 0);
	must("TEEC_AllocateSharedMemory", TEEC_AllocateSharedMemory(&context, &digest) == TEEC_SUCCESS, 0, 0);
	while (access(argv[2], F_OK) != 0) {
		TEEC_Operation registered = {
			.paramTypes =
				TEEC_PARAM_TYPES(TEEC_MEMREF_PARTIAL_INPUT, TEEC_MEMREF_WHOLE, TEEC_NONE, TEEC_NONE),
			.params[0].memref = {&content, SIZE, OFFSET},
			.params[1].memref = {&digest, DIGEST, 0},
		};
		TEEC_Operation other = {
			.paramTypes =
				TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE),
			.params[0].tmpref = {bytes + OFFSET, SIZE},
			.params[1].tmpref = {temporary, DIGEST},
		};
		memset(bytes, (int)rounds, sizeof bytes);
		memset(digest.buffer, 0, DIGEST);
		if (hash(&registered) && hash(&other)) {
			must("registered memory", memcmp(digest.buffer, temporary, DIGEST) == 0, rounds, 0);
			rounds++;
		} else {
			TEEC_CloseSession(&session);
			open_session();
			deaths++;
		}
		write_progress(argv[1], rounds, deaths);
		usleep(PAUSE);
	}
	TEEC_ReleaseSharedMemory(&digest);
	TEEC_ReleaseSharedMemory(&content);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	printf("%u rounds, %u sessions died\n", rounds, deaths);
	return 0;
}
