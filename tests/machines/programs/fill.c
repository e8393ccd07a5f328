// Registers buffers with the TEE until it has no more room, releases them, and registers one again. Prints
// "COUNT buffers, then RESULT" and "afterwards RESULT".
//   usage: fill BYTES MOST [SECONDS]
// SECONDS: how long it keeps the buffers.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <tee_client_api.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t size = argc >= 3 ? strtoul(argv[1], NULL, 0) : 0;
	int most = argc >= 3 ? atoi(argv[2]) : 0;
	if (!size || most < 1) {
		fprintf(stderr, "usage: %s BYTES MOST [SECONDS]\n", argv[0]);
		return 2;
	}

	TEEC_Context context;
	TEEC_Result result = TEEC_InitializeContext(NULL, &context);
	if (result != TEEC_SUCCESS) {
		fprintf(stderr, "TEEC_InitializeContext: result %08x\n", result);
		return 1;
	}

	TEEC_SharedMemory *buffers = calloc(most, sizeof *buffers);
	int count = 0;
	while (count < most) {
		buffers[count] = (TEEC_SharedMemory){.size = size, .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT};
		result = TEEC_AllocateSharedMemory(&context, &buffers[count]);
		if (result != TEEC_SUCCESS)
			break;
		count++;
	}
	printf("%d buffers, then %08x\n", count, result);
	fflush(stdout);
	if (argc == 4)
		sleep(atoi(argv[3]));
	for (int i = 0; i < count; i++)
		TEEC_ReleaseSharedMemory(&buffers[i]);

	TEEC_SharedMemory one = {.size = size, .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT};
	result = TEEC_AllocateSharedMemory(&context, &one);
	printf("afterwards %08x\n", result);
	if (result == TEEC_SUCCESS)
		TEEC_ReleaseSharedMemory(&one);
	TEEC_FinalizeContext(&context);
	return 0;
}
