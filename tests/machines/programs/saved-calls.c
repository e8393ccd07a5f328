// Calls of the software TEE that go on while the guest is saved and restored: each is counted by its application, and
// here. A call that is lost, or done twice, makes the two differ.
//   usage: saved-calls PROGRESS STOP
// PROGRESS is a file that gets the number of rounds which every thread has completed. When the file STOP exists, the
// threads end, and the program prints what they have done.

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>
#include <time.h>
#include <unistd.h>

// samples/KvmVmm/Tee/SumApplication.cs and GuestApplication.cs
static const TEEC_UUID sums = {0x3c2f1b0e, 0x5a4d, 0x4f6e, {0x8b, 0x7c, 0x9d, 0x0e, 0x1f, 0x2a, 0x3b, 0x4c}};
static const TEEC_UUID calls_guest = {0x7d1c5a2e, 0x93b4, 0x4f0d, {0xa6, 0xe8, 0x51, 0xc0, 0xb7, 0xf2, 0xe9, 0xd4}};
enum { ADD = 0, ECHO = 1, COUNT_IN_FILE = 7 };

enum { SIZE = 20000, OFFSET = 4096, LONG_WAIT = 700, SLEEP = 1 }; // bytes, bytes, milliseconds, seconds

static TEEC_Context context;
static atomic_int stops;

static void must(const char *what, int holds, unsigned int first, unsigned int second)
{
	if (holds)
		return;
	printf("%s: %08x, %08x\n", what, first, second);
	fflush(stdout);
	_exit(1);
}

static void open_session(TEEC_Session *session, const TEEC_UUID *application)
{
	uint32_t origin = 0;
	TEEC_Result result =
		TEEC_OpenSession(&context, session, application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);
	must("TEEC_OpenSession", result == TEEC_SUCCESS, result, origin);
}

static void invoke(TEEC_Session *session, uint32_t command, TEEC_Operation *operation)
{
	uint32_t origin = 0;
	TEEC_Result result = TEEC_InvokeCommand(session, command, operation, &origin);
	must("TEEC_InvokeCommand", result == TEEC_SUCCESS, result, origin);
}

// Adds; the application's sum of all that it has added must be ours.
static void add(TEEC_Session *session, uint32_t left, uint32_t right, uint32_t *total)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		.params[0].value = {left, right},
	};
	invoke(session, ADD, &operation);
	*total += left + right;
	must("the sum", operation.params[0].value.a == left + right, operation.params[0].value.a, left + right);
	must("the sum of all sums", operation.params[0].value.b == *total, operation.params[0].value.b, *total);
}

static void fill(char *bytes, size_t size, unsigned int seed)
{
	for (size_t index = 0; index < size; index++) {
		seed = seed * 1103515245 + 12345;
		bytes[index] = (char)(seed >> 16);
	}
}

static void *use_temporary_memory(void *argument)
{
	static char sent[SIZE], got[SIZE];
	atomic_uint *done = argument;
	uint32_t total = 0;
	TEEC_Session session;
	open_session(&session, &sums);
	for (; !stops; ++*done) {
		TEEC_Operation operation = {
			.paramTypes =
				TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE),
			.params[0].tmpref = {sent, sizeof sent},
			.params[1].tmpref = {got, sizeof got},
		};
		add(&session, *done, 1, &total);
		fill(sent, sizeof sent, *done);
		memset(got, 0, sizeof got);
		invoke(&session, ECHO, &operation);
		must("temporary memory", memcmp(sent, got, sizeof got) == 0, *done, 0);
	}
	TEEC_CloseSession(&session);
	return NULL;
}

// One of the client's own memory, one that libteec allocates; both are registered once.
static void *use_registered_memory(void *argument)
{
	static char bytes[SIZE + OFFSET];
	atomic_uint *done = argument;
	uint32_t total = 0;
	TEEC_Session session;
	TEEC_SharedMemory sent = {.buffer = bytes, .size = sizeof bytes, .flags = TEEC_MEM_INPUT};
	TEEC_SharedMemory got = {.size = SIZE, .flags = TEEC_MEM_OUTPUT};
	open_session(&session, &sums);
	must("TEEC_RegisterSharedMemory", TEEC_RegisterSharedMemory(&context, &sent) == TEEC_SUCCESS, 0, 0);
	must("TEEC_AllocateSharedMemory", TEEC_AllocateSharedMemory(&context, &got) == TEEC_SUCCESS, 0, 0);
	for (; !stops; ++*done) {
		TEEC_Operation operation = {
			.paramTypes =
				TEEC_PARAM_TYPES(TEEC_MEMREF_PARTIAL_INPUT, TEEC_MEMREF_WHOLE, TEEC_NONE, TEEC_NONE),
			.params[0].memref = {&sent, SIZE, OFFSET},
			.params[1].memref = {&got, SIZE, 0},
		};
		add(&session, *done, 2, &total);
		fill(bytes, sizeof bytes, *done);
		memset(got.buffer, 0, SIZE);
		invoke(&session, ECHO, &operation);
		must("registered memory", memcmp(bytes + OFFSET, got.buffer, SIZE) == 0, *done, 0);
	}
	TEEC_ReleaseSharedMemory(&got);
	TEEC_ReleaseSharedMemory(&sent);
	TEEC_CloseSession(&session);
	return NULL;
}

// A call that lasts, which sleeps until it is notified, with a file of the supplicant open meanwhile.
static void *count_in_file(void *argument)
{
	static char name[] = "saved-calls";
	atomic_uint *done = argument;
	TEEC_Session session;
	open_session(&session, &calls_guest);
	for (; !stops; ++*done) {
		TEEC_Operation operation = {
			.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE),
			.params[0].tmpref = {name, strlen(name)},
			.params[1].value.a = LONG_WAIT,
		};
		invoke(&session, COUNT_IN_FILE, &operation);
		must("the number in the file", operation.params[1].value.a == *done + 1, operation.params[1].value.a,
		     *done + 1);
		must("the session's number", operation.params[1].value.b == *done + 1, operation.params[1].value.b,
		     *done + 1);
	}
	TEEC_CloseSession(&session);
	return NULL;
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

// The guest's timers, without its TEE.
static void *sleep_again_and_again(void *argument)
{
	atomic_uint *done = argument;
	for (; !stops; ++*done) {
		double begin = now();
		struct timespec time = {.tv_sec = SLEEP};
		clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
		must("a sleep was too short", now() - begin >= SLEEP, 0, 0);
	}
	return NULL;
}

static struct {
	const char *name;
	void *(*run)(void *done);
	atomic_uint done;
	pthread_t thread;
} threads[] = {
	{.name = "temporary", .run = use_temporary_memory},
	{.name = "registered", .run = use_registered_memory},
	{.name = "file", .run = count_in_file},
	{.name = "sleeps", .run = sleep_again_and_again},
};
enum { THREADS = sizeof threads / sizeof *threads };

static void write_progress(const char *path)
{
	char unfinished[256];
	unsigned int least = threads[0].done;
	for (int index = 1; index < THREADS; index++)
		least = threads[index].done < least ? threads[index].done : least;
	snprintf(unfinished, sizeof unfinished, "%s.new", path);
	FILE *file = fopen(unfinished, "w");
	must("the file PROGRESS", file != NULL, 0, 0);
	fprintf(file, "%u\n", least);
	fclose(file);
	rename(unfinished, path);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s PROGRESS STOP\n", argv[0]);
		return 2;
	}

	// A session that rests meanwhile.
	TEEC_Session resting;
	uint32_t total = 0;
	TEEC_Result result = TEEC_InitializeContext(NULL, &context);
	must("TEEC_InitializeContext", result == TEEC_SUCCESS, result, 0);
	open_session(&resting, &sums);
	add(&resting, 3, 4, &total);
	for (int index = 0; index < THREADS; index++)
		must("pthread_create",
		     pthread_create(&threads[index].thread, NULL, threads[index].run, &threads[index].done) == 0, 0, 0);
	while (access(argv[2], F_OK) != 0) {
		write_progress(argv[1]);
		usleep(50000);
	}
	stops = 1;
	for (int index = 0; index < THREADS; index++) {
		pthread_join(threads[index].thread, NULL);
		printf("%s %u\n", threads[index].name, threads[index].done);
	}
	add(&resting, 5, 6, &total);
	TEEC_CloseSession(&resting);
	TEEC_FinalizeContext(&context);
	printf("all done\n");
	return 0;
}
