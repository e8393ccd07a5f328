// Clients of OP-TEE's example applications and of the one that calls others (samples/ExampleApplications). They make
// the calls that OP-TEE's host programs of the same names make, of which Debian has no package. For secure_storage
// there is objects.c. Bytes are printed in hexadecimal.
//   usage: example-clients hello_world NUMBER   prints the number after it, and the one before that
//          example-clients random               prints 16 bytes
//          example-clients hotp KEY COUNT       prints as many one-time passwords
//          example-clients aes ALGORITHM        encrypts 4096 bytes with ECB (0), CBC (1), CTR (2), CCM (3) or GCM (4)
//                                               and decrypts them; prints both results, between them the tag of CCM
//                                               or GCM
//          example-clients acipher BITS ALGORITHM TEXT
//                                               encrypts with a new RSA key and decrypts; prints how long the first
//                                               result is, and the second one
//          example-clients caller NUMBER        prints the number after it, and 16 random bytes
// A failure is "what: result, origin" on standard error.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>

static const TEEC_UUID hello_world = {0x8aaaf200, 0x2450, 0x11e4, {0xab, 0xe2, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b}};
static const TEEC_UUID random_numbers = {0xb6c53aba, 0x9669, 0x4668, {0xa7, 0xf2, 0x20, 0x56, 0x29, 0xd0, 0x0f, 0x86}};
static const TEEC_UUID hotp = {0x484d4143, 0x2d53, 0x4841, {0x31, 0x20, 0x4a, 0x6f, 0x63, 0x6b, 0x65, 0x42}};
static const TEEC_UUID aes = {0x5dbac793, 0xf574, 0x4871, {0x8a, 0xd3, 0x04, 0x33, 0x1e, 0xc1, 0x7f, 0x24}};
static const TEEC_UUID acipher = {0xa734eed9, 0xd6a1, 0x4244, {0xaa, 0x50, 0x7c, 0x99, 0x71, 0x9e, 0x7b, 0x7b}};
static const TEEC_UUID caller = {0xc1a5f0e2, 0x7b3d, 0x4f60, {0x9a, 0x88, 0x2f, 0x1d, 0x0c, 0x4e, 0x6b, 0x75}};
enum { INCREMENT = 0, DECREMENT = 1 };
enum { GENERATE = 0, GENERATE_FOR_CALLER = 1 };
enum { REGISTER_KEY = 0, GET_PASSWORD = 1 };
enum { AES_PREPARE = 0, AES_SET_KEY = 1, AES_SET_VECTOR = 2, AES_CIPHER = 3, AES_AUTHENTICATE = 4 };
enum { GENERATE_KEY = 0, ENCRYPT_OR_DECRYPT = 1 };
enum { DECRYPTS = 0, ENCRYPTS = 1 };
enum { ECB = 0, CCM = 3 };

enum { KEY_SIZE = 16, BLOCK_SIZE = 16, TAG_SIZE = 16, MESSAGE_SIZE = 4096 };

static TEEC_Session session;

static void must(const char *what, TEEC_Result result, uint32_t origin)
{
	if (result == TEEC_SUCCESS)
		return;
	fprintf(stderr, "%s: result %08x, origin %u\n", what, result, origin);
	exit(1);
}

static void invoke(uint32_t command, TEEC_Operation *operation)
{
	uint32_t origin = 0;
	must("TEEC_InvokeCommand", TEEC_InvokeCommand(&session, command, operation, &origin), origin);
}

static void print(const void *bytes, size_t size)
{
	for (size_t index = 0; index < size; index++)
		printf("%02x", ((const uint8_t *)bytes)[index]);
	printf("\n");
}

static uint32_t count(uint32_t command, uint32_t number)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		.params[0].value.a = number,
	};
	invoke(command, &operation);
	return operation.params[0].value.a;
}

static void print_random(uint32_t command)
{
	uint8_t bytes[16] = {0};
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		.params[0].tmpref = {bytes, sizeof bytes},
	};
	invoke(command, &operation);
	print(bytes, operation.params[0].tmpref.size);
}

static void send(uint32_t command, void *bytes, size_t size)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		.params[0].tmpref = {bytes, size},
	};
	invoke(command, &operation);
}

static void run_hello_world(char **arguments)
{
	uint32_t more = count(INCREMENT, strtoul(arguments[0], NULL, 0));
	printf("%u\n%u\n", more, count(DECREMENT, more));
}

static void run_random(char **arguments)
{
	(void)arguments;
	print_random(GENERATE);
}

static void run_hotp(char **arguments)
{
	send(REGISTER_KEY, arguments[0], strlen(arguments[0]));
	for (int left = atoi(arguments[1]); left > 0; left--) {
		TEEC_Operation operation = {
			.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_OUTPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		};
		invoke(GET_PASSWORD, &operation);
		printf("%06u\n", operation.params[0].value.a);
	}
}

static void prepare_aes(uint32_t algorithm, uint32_t direction)
{
	uint8_t key[KEY_SIZE];
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_VALUE_INPUT, TEEC_VALUE_INPUT, TEEC_NONE),
		.params[0].value.a = algorithm,
		.params[1].value.a = sizeof key,
		.params[2].value.a = direction,
	};
	invoke(AES_PREPARE, &operation);
	memset(key, 0xa5, sizeof key);
	send(AES_SET_KEY, key, sizeof key);
}

// Returns how many bytes it wrote.
static size_t cipher(uint32_t algorithm, uint32_t direction, void *input, size_t size, void *output, uint8_t *tag)
{
	TEEC_Operation operation = {
		.params[0].tmpref = {input, size},
		.params[1].tmpref = {output, size},
	};
	prepare_aes(algorithm, direction);
	if (algorithm >= CCM) {
		operation.paramTypes = TEEC_PARAM_TYPES(
			TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_VALUE_INPUT, TEEC_MEMREF_TEMP_INOUT);
		operation.params[2].value.a = direction;
		operation.params[3].tmpref = (TEEC_TempMemoryReference){tag, TAG_SIZE};
		invoke(AES_AUTHENTICATE, &operation);
	} else {
		uint8_t vector[BLOCK_SIZE] = {0};
		// As OP-TEE's program: ECB has no vector.
		send(AES_SET_VECTOR, algorithm == ECB ? NULL : vector, algorithm == ECB ? 0 : sizeof vector);
		operation.paramTypes =
			TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE);
		invoke(AES_CIPHER, &operation);
	}
	return operation.params[1].tmpref.size;
}

static void run_aes(char **arguments)
{
	static uint8_t text[MESSAGE_SIZE], encrypted[MESSAGE_SIZE], decrypted[MESSAGE_SIZE];
	uint8_t tag[TAG_SIZE] = {0};
	uint32_t algorithm = strtoul(arguments[0], NULL, 0);
	memset(text, 0x5a, sizeof text);
	size_t size = cipher(algorithm, ENCRYPTS, text, sizeof text, encrypted, tag);
	print(encrypted, size);
	if (algorithm >= CCM)
		print(tag, sizeof tag);
	print(decrypted, cipher(algorithm, DECRYPTS, encrypted, size, decrypted, tag));
}

// Asks for the size first, with no buffer; the caller frees the result.
static void *transform(uint32_t direction, uint32_t algorithm, void *input, size_t *size)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(
			TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_VALUE_INPUT, TEEC_VALUE_INPUT),
		.params[0].tmpref = {input, *size},
		.params[2].value.a = direction,
		.params[3].value.a = algorithm,
	};
	uint32_t origin = 0;
	TEEC_Result result = TEEC_InvokeCommand(&session, ENCRYPT_OR_DECRYPT, &operation, &origin);
	if (result != TEEC_ERROR_SHORT_BUFFER || origin != TEEC_ORIGIN_TRUSTED_APP) {
		fprintf(stderr, "without a buffer: result %08x, origin %u\n", result, origin);
		exit(1);
	}
	void *output = operation.params[1].tmpref.buffer = malloc(operation.params[1].tmpref.size);
	if (!output) {
		fprintf(stderr, "no memory\n");
		exit(1);
	}
	invoke(ENCRYPT_OR_DECRYPT, &operation);
	*size = operation.params[1].tmpref.size;
	return output;
}

static void run_acipher(char **arguments)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE),
		.params[0].value.a = strtoul(arguments[0], NULL, 0),
	};
	uint32_t algorithm = strtoul(arguments[1], NULL, 0);
	size_t size = strlen(arguments[2]);
	invoke(GENERATE_KEY, &operation);
	void *encrypted = transform(ENCRYPTS, algorithm, arguments[2], &size);
	printf("%zu\n", size);
	char *text = transform(DECRYPTS, algorithm, encrypted, &size);
	printf("%.*s\n", (int)size, text);
	free(text);
	free(encrypted);
}

static void run_caller(char **arguments)
{
	printf("%u\n", count(INCREMENT, strtoul(arguments[0], NULL, 0)));
	print_random(GENERATE_FOR_CALLER);
}

static const struct {
	const char *name;
	const TEEC_UUID *application;
	int arguments;
	void (*run)(char **arguments);
} examples[] = {
	{"hello_world", &hello_world, 1, run_hello_world}, {"random", &random_numbers, 0, run_random},
	{"hotp", &hotp, 2, run_hotp}, {"aes", &aes, 1, run_aes},
	{"acipher", &acipher, 3, run_acipher}, {"caller", &caller, 1, run_caller},
};

int main(int argc, char **argv)
{
	size_t index = 0, most = sizeof examples / sizeof *examples;
	while (argc >= 2 && index < most && strcmp(argv[1], examples[index].name))
		index++;
	if (argc < 2 || index == most || argc != 2 + examples[index].arguments) {
		fprintf(stderr,
			"usage: %s hello_world NUMBER | random | hotp KEY COUNT | aes ALGORITHM | acipher BITS ALGORITHM TEXT | "
			"caller NUMBER\n",
			argv[0]);
		return 2;
	}

	TEEC_Context context;
	uint32_t origin = 0;
	must("TEEC_InitializeContext", TEEC_InitializeContext(NULL, &context), TEEC_ORIGIN_API);
	must("TEEC_OpenSession",
	     TEEC_OpenSession(&context, &session, examples[index].application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin),
	     origin);
	examples[index].run(argv + 2);
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	return 0;
}
