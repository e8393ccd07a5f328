// Clients of the example applications in samples/ExampleApplications, as OP-TEE's host programs of the same names are.
// For secure_storage there is objects.c.
//   usage: example-clients hello_world NUMBER   prints the number after it
//          example-clients random COUNT         prints as many random bytes, in hexadecimal
//          example-clients hotp KEY COUNT       prints as many one-time passwords
//          example-clients aes KEY VECTOR TEXT  prints what AES in counter mode makes of the text, all in hexadecimal,
//                                               after it has decrypted it again
//          example-clients acipher BITS TEXT    prints the text after RSA has encrypted and decrypted it
//          example-clients caller NUMBER        as hello_world, by an application that calls hello_world
// A failure is "what: result, origin" on standard error.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>

enum { NONE = TEEC_NONE, IN = TEEC_MEMREF_TEMP_INPUT, OUT = TEEC_MEMREF_TEMP_OUTPUT };
enum { VALUE_IN = TEEC_VALUE_INPUT, VALUE_OUT = TEEC_VALUE_OUTPUT, VALUE_INOUT = TEEC_VALUE_INOUT };

// TEE_ALG_RSAES_PKCS1_V1_5 of the GlobalPlatform TEE Internal Core API
enum { RSAES_PKCS1_V1_5 = 0x60000130 };

static TEEC_Context context;
static TEEC_Session session;

static void must(const char *what, TEEC_Result result, uint32_t origin)
{
	if (result == TEEC_SUCCESS)
		return;
	fprintf(stderr, "%s: result %08x, origin %u\n", what, result, origin);
	exit(1);
}

static void open_session(TEEC_UUID application)
{
	uint32_t origin = 0;
	must("TEEC_InitializeContext", TEEC_InitializeContext(NULL, &context), 0);
	TEEC_Result result =
		TEEC_OpenSession(&context, &session, &application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);
	must("TEEC_OpenSession", result, origin);
}

static void invoke(uint32_t command, TEEC_Operation *operation)
{
	uint32_t origin = 0;
	TEEC_Result result = TEEC_InvokeCommand(&session, command, operation, &origin);
	must("TEEC_InvokeCommand", result, origin);
}

static TEEC_TempMemoryReference memory(void *bytes, size_t size)
{
	return (TEEC_TempMemoryReference){bytes, size};
}

static void print_hexadecimal(const uint8_t *bytes, size_t size)
{
	for (size_t index = 0; index < size; index++)
		printf("%02x", bytes[index]);
	putchar('\n');
}

static size_t read_hexadecimal(const char *text, uint8_t *bytes, size_t room)
{
	size_t size = strlen(text) / 2;
	if (size > room)
		exit(2);
	for (size_t index = 0; index < size; index++)
		if (sscanf(text + 2 * index, "%2hhx", &bytes[index]) != 1)
			exit(2);
	return size;
}

static void increment(TEEC_UUID application, const char *number)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(VALUE_INOUT, NONE, NONE, NONE),
		.params[0].value.a = strtoul(number, NULL, 10),
	};
	open_session(application);
	invoke(0, &operation);
	printf("%u\n", operation.params[0].value.a);
}

static void draw(const char *count)
{
	static uint8_t bytes[4096];
	size_t size = strtoul(count, NULL, 10);
	if (size > sizeof bytes)
		exit(2);
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(OUT, NONE, NONE, NONE),
		.params[0].tmpref = memory(bytes, size),
	};
	open_session((TEEC_UUID){0xb6c53aba, 0x9669, 0x4668, {0xa7, 0xf2, 0x20, 0x56, 0x29, 0xd0, 0x0f, 0x86}});
	invoke(0, &operation);
	print_hexadecimal(bytes, operation.params[0].tmpref.size);
}

static void make_passwords(char *key, const char *count)
{
	TEEC_Operation registration = {
		.paramTypes = TEEC_PARAM_TYPES(IN, NONE, NONE, NONE),
		.params[0].tmpref = memory(key, strlen(key)),
	};
	open_session((TEEC_UUID){0x484d4143, 0x2d53, 0x4841, {0x31, 0x20, 0x4a, 0x6f, 0x63, 0x6b, 0x65, 0x42}});
	invoke(0, &registration);
	for (unsigned long left = strtoul(count, NULL, 10); left > 0; left--) {
		TEEC_Operation password = {.paramTypes = TEEC_PARAM_TYPES(VALUE_OUT, NONE, NONE, NONE)};
		invoke(1, &password);
		printf("%06u\n", password.params[0].value.a);
	}
}

static void cipher(int encrypts, uint8_t *key, size_t key_size, uint8_t *vector, size_t vector_size,
		   uint8_t *input, uint8_t *output, size_t size)
{
	enum { COUNTER_MODE = 2 };
	TEEC_Operation preparation = {
		.paramTypes = TEEC_PARAM_TYPES(VALUE_IN, VALUE_IN, VALUE_IN, NONE),
		.params = {{.value.a = COUNTER_MODE}, {.value.a = key_size}, {.value.a = encrypts}},
	};
	TEEC_Operation key_setting = {
		.paramTypes = TEEC_PARAM_TYPES(IN, NONE, NONE, NONE),
		.params[0].tmpref = memory(key, key_size),
	};
	TEEC_Operation beginning = {
		.paramTypes = TEEC_PARAM_TYPES(IN, NONE, NONE, NONE),
		.params[0].tmpref = memory(vector, vector_size),
	};
	TEEC_Operation piece = {
		.paramTypes = TEEC_PARAM_TYPES(IN, OUT, NONE, NONE),
		.params = {{.tmpref = memory(input, size)}, {.tmpref = memory(output, size)}},
	};
	invoke(0, &preparation);
	invoke(1, &key_setting);
	invoke(2, &beginning);
	invoke(3, &piece);
}

static void encrypt_with_aes(const char *key_text, const char *vector_text, const char *text)
{
	static uint8_t key[32], vector[16], clear[4096], encrypted[4096], decrypted[4096];
	size_t key_size = read_hexadecimal(key_text, key, sizeof key);
	size_t vector_size = read_hexadecimal(vector_text, vector, sizeof vector);
	size_t size = read_hexadecimal(text, clear, sizeof clear);
	open_session((TEEC_UUID){0x5dbac793, 0xf574, 0x4871, {0x8a, 0xd3, 0x04, 0x33, 0x1e, 0xc1, 0x7f, 0x24}});
	cipher(1, key, key_size, vector, vector_size, clear, encrypted, size);
	cipher(0, key, key_size, vector, vector_size, encrypted, decrypted, size);
	if (memcmp(clear, decrypted, size) != 0) {
		fprintf(stderr, "decrypted is not what was encrypted\n");
		exit(1);
	}
	print_hexadecimal(encrypted, size);
}

static size_t apply_rsa(int encrypts, void *input, size_t size, void *output, size_t room)
{
	TEEC_Operation operation = {
		.paramTypes = TEEC_PARAM_TYPES(IN, OUT, VALUE_IN, VALUE_IN),
		.params = {
			{.tmpref = memory(input, size)},
			{.tmpref = memory(output, room)},
			{.value.a = encrypts},
			{.value.a = RSAES_PKCS1_V1_5},
		},
	};
	invoke(1, &operation);
	return operation.params[1].tmpref.size;
}

static void encrypt_with_rsa(const char *bits, char *text)
{
	static uint8_t encrypted[512], decrypted[512];
	TEEC_Operation generation = {
		.paramTypes = TEEC_PARAM_TYPES(VALUE_IN, NONE, NONE, NONE),
		.params[0].value.a = strtoul(bits, NULL, 10),
	};
	open_session((TEEC_UUID){0xa734eed9, 0xd6a1, 0x4244, {0xaa, 0x50, 0x7c, 0x99, 0x71, 0x9e, 0x7b, 0x7b}});
	invoke(0, &generation);
	size_t size = apply_rsa(1, text, strlen(text), encrypted, sizeof encrypted);
	size = apply_rsa(0, encrypted, size, decrypted, sizeof decrypted);
	printf("%.*s\n", (int)size, decrypted);
}

int main(int argc, char **argv)
{
	static const TEEC_UUID hello_world = {
		0x8aaaf200, 0x2450, 0x11e4, {0xab, 0xe2, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b}};
	static const TEEC_UUID caller = {
		0xc1a5f0e2, 0x7b3d, 0x4f60, {0x9a, 0x88, 0x2f, 0x1d, 0x0c, 0x4e, 0x6b, 0x75}};
	const char *example = argc > 2 ? argv[1] : "";
	if (argc == 3 && strcmp(example, "hello_world") == 0)
		increment(hello_world, argv[2]);
	else if (argc == 3 && strcmp(example, "random") == 0)
		draw(argv[2]);
	else if (argc == 4 && strcmp(example, "hotp") == 0)
		make_passwords(argv[2], argv[3]);
	else if (argc == 5 && strcmp(example, "aes") == 0)
		encrypt_with_aes(argv[2], argv[3], argv[4]);
	else if (argc == 4 && strcmp(example, "acipher") == 0)
		encrypt_with_rsa(argv[2], argv[3]);
	else if (argc == 3 && strcmp(example, "caller") == 0)
		increment(caller, argv[2]);
	else {
		fprintf(stderr, "usage: see the source\n");
		return 2;
	}
	TEEC_CloseSession(&session);
	TEEC_FinalizeContext(&context);
	return 0;
}
