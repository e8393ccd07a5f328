// Makes the OP-TEE in a VMM's companion VM loop for ever wherever it runs next, as one that has panicked: overwrites
// its code, for which one must be root.
//   usage: stop-companion PID

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SECURE_MEMORY = 0xf00000, IMAGE = 0x80000, BRANCH_TO_ITSELF = 0x14000000 };

int main(int argc, char **argv)
{
	static uint32_t code[IMAGE / sizeof(uint32_t)];
	char path[64], line[512];
	unsigned long start, end;
	FILE *maps;
	int memory;

	if (argc != 2) {
		fprintf(stderr, "usage: stop-companion PID\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof code / sizeof *code; i++)
		code[i] = BRANCH_TO_ITSELF;
	snprintf(path, sizeof path, "/proc/%s/mem", argv[1]);
	memory = open(path, O_RDWR);
	snprintf(path, sizeof path, "/proc/%s/maps", argv[1]);
	maps = fopen(path, "r");
	if (memory < 0 || !maps) {
		perror(path);
		return 1;
	}
	while (fgets(line, sizeof line, maps)) {
		if (!strstr(line, "memfd:optee") || sscanf(line, "%lx-%lx", &start, &end) != 2 || end - start != SECURE_MEMORY)
			continue;
		if (pwrite(memory, code, sizeof code, start) != sizeof code) {
			perror("pwrite");
			return 1;
		}
		printf("stopped\n");
		return 0;
	}
	fprintf(stderr, "process %s has no companion VM\n", argv[1]);
	return 1;
}
