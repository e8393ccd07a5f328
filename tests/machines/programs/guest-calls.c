// A client of the VMM's application that calls its guest.
//   usage: guest-calls time                 prints the guest's time as the application got it, in seconds since 1970
//          guest-calls share BYTES WITH     shares memory with the supplicant (WITH 0) or the kernel (1); prints how
//                                           many bytes work
//          guest-calls write NAME TEXT      writes a file by way of the supplicant
//          guest-calls read NAME            prints what it reads of one
//          guest-calls wait MS              has the application wait; prints "waits" before
//          guest-calls cancel MS AFTER      cancels the wait after some milliseconds; prints its result and how many it
//                                           took
//          guest-calls speed MS...          counts beside a call that waits, and without one, in turn, for each MS;
//                                           prints "MS: ALONE, BESIDE: RATIO" of counts a microsecond, then
//                                           "median RATIO"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>
#include <time.h>
#include <unistd.h>

// samples/KvmVmm/Tee/GuestApplication.cs
static const TEEC_UUID application = {0x7d1c5a2e, 0x93b4, 0x4f0d, {0xa6, 0xe8, 0x51, 0xc0, 0xb7, 0xf2, 0xe9, 0xd4}};
enum { GET_TIME = 0, SHARE_MEMORY = 1, WRITE_FILE = 2, READ_FILE = 3, WAIT = 5 };

enum { LONGEST_ALONE = 1000, MOST_PAIRS = 100 };

static TEEC_Session session;

struct wait {
	TEEC_Operation operation;
	TEEC_Result result;
	atomic_int has_ended;
};

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void must(const char *what, TEEC_Result result, uint32_t origin)
{
	if (result == TEEC_SUCCESS)
		return;
	fprintf(stderr, "%s: result %08x, origin %u\n", what, result, origin);
	exit(1);
}

static TEEC_Parameter *invoke(uint32_t command, TEEC_Operation *operation)
{
	uint32_t origin = 0;
	must("TEEC_InvokeCommand", TEEC_InvokeCommand(&session, command, operation, &origin), origin);
	return operation->params;
}

static void tell_time(char **arguments)
{
	(void)arguments;
	TEEC_Operation operation = {.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_OUTPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE)};
	printf("%u\n", invoke(GET_TIME, &operation)[0].value.a);
}

static void share(char **arguments)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		.params[0].value = {strtoul(arguments[0], NULL, 0), strtoul(arguments[1], NULL, 0)},
	};
	printf("%u\n", invoke(SHARE_MEMORY, &operation)[0].value.a);
}

static void write_file(char **arguments)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_INPUT, TEEC_NONE, TEEC_NONE),
		.params[0].tmpref = {arguments[0], strlen(arguments[0])},
		.params[1].tmpref = {arguments[1], strlen(arguments[1])},
	};
	invoke(WRITE_FILE, &operation);
}

static void read_file(char **arguments)
{
	char content[4096];
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE),
		.params[0].tmpref = {arguments[0], strlen(arguments[0])},
		.params[1].tmpref = {content, sizeof content},
	};
	size_t length = invoke(READ_FILE, &operation)[1].tmpref.size;
	printf("%.*s\n", (int)length, content);
}

static void *run_wait(void *argument)
{
	struct wait *wait = argument;
	uint32_t origin;
	wait->result = TEEC_InvokeCommand(&session, WAIT, &wait->operation, &origin);
	wait->has_ended = 1;
	return NULL;
}

static pthread_t start_wait(struct wait *wait, uint32_t milliseconds)
{
	pthread_t thread;
	*wait = (struct wait){
		.operation = {
			.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
			.params[0].value.a = milliseconds,
		},
	};
	if (pthread_create(&thread, NULL, run_wait, wait)) {
		fprintf(stderr, "cannot create a thread\n");
		exit(1);
	}
	return thread;
}

static void wait_for(char **arguments)
{
	struct wait wait;
	printf("waits\n");
	fflush(stdout);
	pthread_join(start_wait(&wait, strtoul(arguments[0], NULL, 0)), NULL);
	must("wait", wait.result, TEEC_ORIGIN_TRUSTED_APP);
}

static void cancel(char **arguments)
{
	struct wait wait;
	double start = now();
	pthread_t thread = start_wait(&wait, strtoul(arguments[0], NULL, 0));
	usleep(strtoul(arguments[1], NULL, 0) * 1000);
	TEEC_RequestCancellation(&wait.operation);
	pthread_join(thread, NULL);
	printf("%08x %.0f\n", wait.result, (now() - start) / 1e3);
}

// Counts until a call has ended, or a time is over; returns counts a microsecond.
static double count(const struct wait *wait, double microseconds)
{
	double start = now(), counts = 0;
	while (wait ? !wait->has_ended : now() - start < microseconds)
		for (int i = 0; i < 10000; i++, counts++)
			__asm__ volatile("");
	return counts / (now() - start);
}

static int compare(const void *left, const void *right)
{
	double difference = *(const double *)left - *(const double *)right;
	return (difference > 0) - (difference < 0);
}

static void speed(char **arguments)
{
	double ratios[MOST_PAIRS];
	int pairs = 0;
	for (; arguments[pairs] && pairs < MOST_PAIRS; pairs++) {
		struct wait wait;
		uint32_t milliseconds = strtoul(arguments[pairs], NULL, 0);
		double alone = count(NULL, 1e3 * (milliseconds < LONGEST_ALONE ? milliseconds : LONGEST_ALONE));
		pthread_t thread = start_wait(&wait, milliseconds);
		double beside = count(&wait, 0);
		pthread_join(thread, NULL);
		must("wait", wait.result, TEEC_ORIGIN_TRUSTED_APP);
		ratios[pairs] = beside / alone;
		printf("%u ms: %.1f, %.1f: %.3f\n", milliseconds, alone, beside, ratios[pairs]);
	}
	qsort(ratios, pairs, sizeof *ratios, compare);
	printf("median %.3f\n", ratios[pairs / 2]);
}

static const struct {
	const char *name;
	int arguments;
	void (*run)(char **arguments);
} commands[] = {
	{"time", 0, tell_time}, {"share", 2, share}, {"write", 2, write_file}, {"read", 1, read_file},
	{"wait", 1, wait_for}, {"cancel", 2, cancel}, {"speed", -1, speed},
};

int main(int argc, char **argv)
{
	size_t index = 0, most = sizeof commands / sizeof *commands;
	while (argc >= 2 && index < most && strcmp(argv[1], commands[index].name))
		index++;
	if (argc < 2 || index == most || (commands[index].arguments < 0 ? argc == 2 : argc != 2 + commands[index].arguments)) {
		fprintf(stderr,
			"usage: %s time | share BYTES WITH | write NAME TEXT | read NAME | wait MS | cancel MS AFTER | "
			"speed MS...\n",
			argv[0]);
		return 2;
	}

	TEEC_Context context;
	uint32_t origin = 0;
	must("TEEC_InitializeContext", TEEC_InitializeContext(NULL, &context), TEEC_ORIGIN_API);
	must("TEEC_OpenSession",
	     TEEC_OpenSession(&context, &session, &application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin), origin);
	commands[index].run(argv + 2);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	return 0;
}
