// How late timers are on a CPU while a command runs on it: prints "timers COUNT median MICROSECONDS highest
// MICROSECONDS".
//   usage: lateness COMMAND ARGUMENT...

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { INTERVAL = 5000000, MOST = 100000 }; // nanoseconds; as many as in eight minutes

static int compare(const void *left, const void *right)
{
	double difference = *(const double *)left - *(const double *)right;
	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	static double lateness[MOST];
	cpu_set_t cpu;
	struct sched_param priority = {.sched_priority = 50};
	struct timespec due, now;
	int count = 0, status;
	pid_t child;

	if (argc < 2) {
		fprintf(stderr, "usage: lateness COMMAND ARGUMENT...\n");
		return 2;
	}
	CPU_ZERO(&cpu);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpu);
	if (sched_setaffinity(0, sizeof cpu, &cpu) != 0) {
		perror("sched_setaffinity");
		return 1;
	}
	child = fork();
	if (child == 0) {
		dup2(open("/dev/null", O_WRONLY), 1);
		execvp(argv[1], argv + 1);
		perror(argv[1]);
		_exit(127);
	}
	if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
		perror("sched_setscheduler");
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &due);
	while (count < MOST && waitpid(child, &status, WNOHANG) == 0) {
		due.tv_nsec += INTERVAL;
		due.tv_sec += due.tv_nsec / 1000000000;
		due.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		lateness[count++] = (now.tv_sec - due.tv_sec) * 1e6 + (now.tv_nsec - due.tv_nsec) / 1e3;
		due = now;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "%s failed, status %x\n", argv[1], status);
		return 1;
	}
	qsort(lateness, count, sizeof *lateness, compare);
	printf("timers %d median %.0f highest %.0f\n", count, lateness[count / 2], lateness[count - 1]);
	return 0;
}
