// A guest that is nothing but an attack on its OP-TEE: code without a kernel, in the form of a kernel Image. It tries
// the ways into OP-TEE that are not its interface, and addresses that are not its own, prints "ok WHAT" or "FAIL WHAT
// …" for each, "N failed" at the end, and powers off.
#include "bare.h"

enum { PAGE = 4096 };
enum { NOT_SUPPORTED = -1, EBADADDR = 4, ERESUME = 3 };
enum { CALL_WITH_ARG = 0x32000004, CALL_WITH_RPC_ARG = 0x32000012, RETURN_FROM_RPC = 0x32000003 };
enum { OPEN_SESSION = 0, INVOKE_COMMAND = 1, REGISTER_SHM = 4 };
enum { TMEM_OUTPUT = 0xa, NONCONTIGUOUS = 0x200, VALUE_INPUT = 1, META = 0x100 };
#define GET_OS_REVISION 0xb2000001u
#define CALLS_COUNT 0xbf00ff00u
#define CALLS_UID 0xbf00ff01u
#define EXCHANGE_CAPABILITIES 0xb2000009u

struct message {
	u32 command, function, session, cancel_id, pad, result, origin, parameter_count;
	struct {
		u64 attributes, a, b, c;
	} parameters[4];
};

// What belongs to OP-TEE or to nobody: its RAM, its device tree, its GIC, its UART, KVM's GIC in its VM, nothing.
static const u64 foreign[] = {0x0e100000, 0x0e1ff000, 0x0efff000, 0x0d000000, 0x08000000, 0x080a0000,
			      0x09040000, 0x20000000, 0x30000000, 0xfffff000, 0xfffffffffffff000};
enum { FOREIGN = sizeof foreign / sizeof *foreign };

static int failed;

static void print_number(u64 number)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		put("0123456789abcdef"[number >> shift & 15]);
}

static void check(const char *what, u64 detail, int is_good, u64 found)
{
	print(is_good ? "ok " : "FAIL ");
	print(what);
	put(' ');
	print_number(detail);
	if (!is_good) {
		print(" found ");
		print_number(found);
		failed++;
	}
	put('\n');
}

// A call with the message at an address, gone through its interruptions.
static struct call call_with(u32 function, u64 address)
{
	struct call answer = smc(function, address >> 32, (u32)address, 0);
	while ((u32)answer.x[0] == 0xffff0004)
		answer = smc(RETURN_FROM_RPC, answer.x[1], answer.x[2], answer.x[3]);
	return answer;
}

static volatile struct message *new_message(u64 page, u32 command, u32 parameters)
{
	volatile u64 *word = (volatile u64 *)page;
	volatile struct message *message = (volatile struct message *)page;
	for (int i = 0; i < PAGE / 8; i++)
		word[i] = 0;
	message->command = command;
	message->parameter_count = parameters;
	message->result = 0xdeadbeef;
	return message;
}

static u32 perform(volatile struct message *message, const char *what, u64 detail)
{
	struct call answer = call_with(CALL_WITH_ARG, (u64)message);
	check(what, detail, answer.x[0] == 0, answer.x[0]);
	return message->result;
}

static u32 register_pages(u64 page, u64 list, u64 cookie)
{
	volatile struct message *message = new_message(page, REGISTER_SHM, 1);
	message->parameters[0].attributes = TMEM_OUTPUT | NONCONTIGUOUS;
	message->parameters[0].a = list;
	message->parameters[0].b = PAGE;
	message->parameters[0].c = cookie;
	return perform(message, "registration is answered", cookie);
}

static u32 open_enumeration(u64 page, u32 *session)
{
	volatile struct message *message = new_message(page, OPEN_SESSION, 2);
	u32 result;
	message->parameters[0].attributes = VALUE_INPUT | META;
	message->parameters[1].attributes = VALUE_INPUT | META;
	for (int i = 0; i < 16; i++)
		((volatile unsigned char *)&message->parameters[0].a)[i] =
			(unsigned char)"\x70\x11\xa6\x88\xdd\xde\x40\x53\xa5\xa9\x7b\x3c\x4d\xdf\x13\xb8"[i];
	result = perform(message, "open session is answered", 0);
	*session = message->session;
	return result;
}

static void attack_memory(void)
{
	u64 free = (u64)&failed & ~0xfffffUL;
	u64 page = free + 0x120000, list = free + 0x130000;
	u32 session, result;

	check("a message of its own is read", page, call_with(CALL_WITH_ARG, (u64)new_message(page, 99, 0)).x[0] == 5, 0);
	for (int i = 0; i < FOREIGN; i++) {
		u64 answer = call_with(CALL_WITH_ARG, foreign[i]).x[0];
		check("message refused at", foreign[i], answer == EBADADDR, answer);
		answer = call_with(CALL_WITH_RPC_ARG, foreign[i]).x[0];
		check("message with RPC refused at", foreign[i], answer == EBADADDR, answer);
	}

	*(volatile u64 *)list = page + PAGE;
	result = register_pages(page, list, 1);
	check("a page of its own is registered", page + PAGE, result == 0, result);
	for (int i = 0; i < FOREIGN; i++) {
		*(volatile u64 *)list = foreign[i];
		result = register_pages(page, list, 0x100 + i);
		check("page refused at", foreign[i], result != 0 && result != 0xdeadbeef, result);
		result = register_pages(page, foreign[i], 0x200 + i);
		check("list refused at", foreign[i], result != 0 && result != 0xdeadbeef, result);
	}

	result = open_enumeration(page, &session);
	check("the device enumeration opens", session, result == 0, result);
	for (int i = 0; i < FOREIGN; i++) {
		volatile struct message *message = new_message(page, INVOKE_COMMAND, 1);
		message->session = session;
		message->parameters[0].attributes = TMEM_OUTPUT;
		message->parameters[0].a = foreign[i];
		message->parameters[0].b = PAGE;
		result = perform(message, "invocation is answered", foreign[i]);
		check("buffer refused at", foreign[i], result != 0 && result != 0xdeadbeef, result);
	}
}

void run(void)
{
	struct call answer = smc(GET_OS_REVISION, 0, 0, 0);
	check("OP-TEE answers", answer.x[0], answer.x[0] == 4, answer.x[0]);
	answer = smc(CALLS_COUNT, 0x11, 0x22, 0x33);
	for (u64 i = 1; i < 4; i++)
		check("nothing of OP-TEE's is left in X", i, answer.x[i] == 0 || answer.x[i] == 0x11 * i, answer.x[i]);
	answer = hvc(GET_OS_REVISION, 0, 0, 0);
	check("HVC is refused", GET_OS_REVISION, answer.x[0] == (u64)NOT_SUPPORTED, answer.x[0]);
	answer = hvc(CALL_WITH_ARG, 0, 0x40000000, 0);
	check("HVC is refused", CALL_WITH_ARG, answer.x[0] == (u64)NOT_SUPPORTED, answer.x[0]);
	for (u64 function = 0xbe000000; function <= 0xbe000008; function++) {
		answer = smc(function, 0x0e100000, 0, 0);
		check("monitor's call is refused", function, answer.x[0] == (u64)NOT_SUPPORTED, answer.x[0]);
	}
	answer = smc(0xbe00ffff, 0, 0, 0);
	check("monitor's call is refused", 0xbe00ffff, answer.x[0] == (u64)NOT_SUPPORTED, answer.x[0]);

	smc(CALLS_UID, 0, 0, 0);
	answer = smc(EXCHANGE_CAPABILITIES, 0, 0, 0);
	check("capabilities are exchanged", answer.x[1], answer.x[0] == 0, answer.x[0]);
	for (u64 thread = 0; thread < 8; thread++) {
		answer = smc(RETURN_FROM_RPC, 0x11, 0x22, thread);
		check("resumption of nothing is refused", thread,
		      answer.x[0] == ERESUME && answer.x[1] == 0x11 && answer.x[2] == 0x22, answer.x[0]);
	}

	for (int i = 0; i < 4; i++) {
		u32 word = *(volatile u32 *)foreign[i];
		check("nothing of OP-TEE's is mapped at", foreign[i], word == 0, word);
	}
	attack_memory();

	answer = smc(GET_OS_REVISION, 0, 0, 0);
	check("OP-TEE still answers", answer.x[0], answer.x[0] == 4, answer.x[0]);
	print_number(failed);
	print(" failed\n");
	power_off();
}
