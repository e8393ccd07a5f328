/*
 * The command optee_call, for U-Boot: opens a session of a trusted application, invokes one function with a value and a
 * buffer, and closes the session. It prints codes as OP-TEE's driver gets them; tests compare them.
 */
#include <command.h>
#include <malloc.h>
#include <tee.h>
#include <u-boot/uuid.h>
#include <vsprintf.h>

/* Bytes that differ from those beside them, and from those of other pages. */
static u8 pattern(ulong index)
{
	return index ^ index >> 8;
}

/* One number for all bytes. */
static u32 digest(const u8 *bytes, ulong size)
{
	u32 result = 0;

	for (ulong index = 0; index < size; index++)
		result = result * 31 + bytes[index];
	return result;
}

static int invoke(struct udevice *tee, u32 session, u32 function, ulong number, ulong size)
{
	struct tee_invoke_arg call = { .session = session, .func = function };
	struct tee_param parameters[2] = { };
	struct tee_shm *shm = NULL;
	u8 *bytes;
	int error;

	parameters[0].attr = TEE_PARAM_ATTR_TYPE_VALUE_INOUT;
	parameters[0].u.value.a = number;
	if (size) {
		if (tee_shm_alloc(tee, size, 0, &shm)) {
			printf("no shared memory\n");
			return CMD_RET_FAILURE;
		}
		bytes = shm->addr;
		for (ulong index = 0; index < size; index++)
			bytes[index] = pattern(index);
		parameters[1].attr = TEE_PARAM_ATTR_TYPE_MEMREF_INOUT;
		parameters[1].u.memref.shm = shm;
		parameters[1].u.memref.size = size;
	}
	error = tee_invoke_func(tee, &call, size ? 2 : 1, parameters);
	printf("invoke: error %d, code %08x, origin %u\n", error, call.ret, call.ret_origin);
	printf("value: %llx %llx\n", parameters[0].u.value.a, parameters[0].u.value.b);
	if (size)
		printf("buffer: size %lx, digest %08x\n", parameters[1].u.memref.size, digest(shm->addr, size));
	tee_shm_free(shm);
	return error || call.ret ? CMD_RET_FAILURE : CMD_RET_SUCCESS;
}

static int do_optee_call(struct cmd_tbl *command, int flag, int argc, char *const argv[])
{
	struct tee_open_session_arg opening = { .clnt_login = TEE_LOGIN_PUBLIC };
	struct udevice *tee;
	int error, result;

	if (argc < 3 || uuid_str_to_bin(argv[1], opening.uuid, UUID_STR_FORMAT_STD))
		return CMD_RET_USAGE;
	tee = tee_find_device(NULL, NULL, NULL, NULL);
	if (!tee) {
		printf("no TEE\n");
		return CMD_RET_FAILURE;
	}

	error = tee_open_session(tee, &opening, 0, NULL);
	printf("open: error %d, code %08x, origin %u\n", error, opening.ret, opening.ret_origin);
	if (error || opening.ret)
		return CMD_RET_FAILURE;
	result = invoke(tee, opening.session, hextoul(argv[2], NULL), argc > 3 ? hextoul(argv[3], NULL) : 0,
			argc > 4 ? hextoul(argv[4], NULL) : 0);
	error = tee_close_session(tee, opening.session);
	printf("close: error %d\n", error);
	return error ? CMD_RET_FAILURE : result;
}

U_BOOT_CMD(optee_call, 5, 0, do_optee_call, "call a trusted application",
	   "UUID FUNCTION [NUMBER [SIZE]] - all numbers are hexadecimal; SIZE is of a buffer");
