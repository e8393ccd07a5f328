// Measures calls of a trusted application: prints "NAME FASTEST MEDIAN", in microseconds, for a command with values
// only, for one with a registered buffer, and for one whose buffer is registered for it. The application is xtest's
// "sims", which keeps values; with the argument "sum", it is that of our VMM, and only values are measured.
//   usage: round-trips COUNT [sum]

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>
#include <time.h>

// ta/sims/include/ta_sims.h of OP-TEE/optee_test
static const TEEC_UUID sims = {0xe6a33ed4, 0x562b, 0x463a, {0xbb, 0x7e, 0xff, 0x5e, 0x15, 0xa4, 0x93, 0xc8}};
enum { TA_SIMS_CMD_WRITE = 2, TA_SIMS_CMD_GET_COUNTER = 3 };

// samples/KvmVmm/Tee/SumApplication.cs
static const TEEC_UUID sum = {0x3c2f1b0e, 0x5a4d, 0x4f6e, {0x8b, 0x7c, 0x9d, 0x0e, 0x1f, 0x2a, 0x3b, 0x4c}};
enum { SUM_ADD = 0 };

static void must(const char *what, TEEC_Result result, uint32_t origin)
{
	if (result == TEEC_SUCCESS)
		return;
	fprintf(stderr, "%s: result %08x, origin %u\n", what, result, origin);
	exit(1);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int compare(const void *left, const void *right)
{
	double difference = *(const double *)left - *(const double *)right;
	return (difference > 0) - (difference < 0);
}

static void measure(const char *name, TEEC_Session *session, uint32_t command, const TEEC_Operation *template,
		    int count)
{
	double *times = malloc(count * sizeof *times);
	for (int i = 0; i < count; i++) {
		TEEC_Operation operation = *template;
		uint32_t origin = 0;
		double start = now();
		TEEC_Result result = TEEC_InvokeCommand(session, command, &operation, &origin);
		times[i] = now() - start;
		must(name, result, origin);
	}
	qsort(times, count, sizeof *times, compare);
	printf("%s %.1f %.1f\n", name, times[0], times[count / 2]);
	free(times);
}

int main(int argc, char **argv)
{
	int count = argc >= 2 ? atoi(argv[1]) : 0;
	int of_sum = argc == 3 && !strcmp(argv[2], "sum");
	if (count < 1 || argc > 2 + of_sum) {
		fprintf(stderr, "usage: %s COUNT [sum]\n", argv[0]);
		return 2;
	}

	TEEC_Context context;
	TEEC_Session session;
	uint32_t origin = 0;
	must("TEEC_InitializeContext", TEEC_InitializeContext(NULL, &context), TEEC_ORIGIN_API);
	must("TEEC_OpenSession",
	     TEEC_OpenSession(&context, &session, of_sum ? &sum : &sims, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin),
	     origin);

	if (of_sum) {
		TEEC_Operation add = {.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE)};
		measure("values", &session, SUM_ADD, &add, count);
		TEEC_CloseSession(&session);
		TEEC_FinalizeContext(&context);
		return 0;
	}

	char text[64] = "a text";
	TEEC_SharedMemory shared = {.size = sizeof text, .flags = TEEC_MEM_INPUT};
	must("TEEC_AllocateSharedMemory", TEEC_AllocateSharedMemory(&context, &shared), TEEC_ORIGIN_API);
	memcpy(shared.buffer, text, sizeof text);

	TEEC_Operation write = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_MEMREF_WHOLE, TEEC_NONE, TEEC_NONE),
		.params[1].memref = {&shared, sizeof text, 0},
	};
	TEEC_Operation temporary = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_MEMREF_TEMP_INPUT, TEEC_NONE, TEEC_NONE),
		.params[1].tmpref = {text, sizeof text},
	};
	TEEC_Operation counter = {.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_OUTPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE)};

	measure("values", &session, TA_SIMS_CMD_GET_COUNTER, &counter, count);
	measure("registered", &session, TA_SIMS_CMD_WRITE, &write, count);
	measure("temporary", &session, TA_SIMS_CMD_WRITE, &temporary, count);

	TEEC_ReleaseSharedMemory(&shared);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	return 0;
}
