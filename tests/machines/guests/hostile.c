// A guest that is nothing but an attack on its OP-TEE: code without a kernel, in the form of a kernel Image. It tries the ways into OP-TEE that are not its
// interface, and addresses that are not its own, prints "ok WHAT" or "FAIL WHAT …" for each, "N failed" at the end, and powers off.
//
// It runs with its MMU off, so that it and OP-TEE see the same memory with different cache attributes; on hardware it would have to clean its caches.

typedef unsigned int u32;
typedef unsigned long u64;

// The Image header (Documentation/arch/arm64/booting.rst), then the first instructions: a stack, 1 MiB on.
__asm__(
	".text\n"
	".globl _start\n"
	"_start: b begin\n"
	"	.long 0\n"
	"	.quad 0\n"        // text_offset
	"	.quad 0x200000\n" // image_size
	"	.quad 0\n"        // flags: little-endian
	"	.quad 0, 0, 0\n"
	"	.ascii \"ARM\\x64\"\n"
	"	.long 0\n"
	"begin:	adr x1, _start\n"
	"	add x1, x1, #0x100, lsl #12\n"
	"	mov sp, x1\n"
	"	bl attack\n");

enum { UART = 0x9000000, PAGE = 4096 };
enum { NOT_SUPPORTED = -1, EBADADDR = 4, ERESUME = 3 };
enum { CALL_WITH_ARG = 0x32000004, CALL_WITH_RPC_ARG = 0x32000012, RETURN_FROM_RPC = 0x32000003 };
enum { OPEN_SESSION = 0, INVOKE_COMMAND = 1, REGISTER_SHM = 4 };
enum { TMEM_OUTPUT = 0xa, NONCONTIGUOUS = 0x200, VALUE_INPUT = 1, META = 0x100 };
#define GET_OS_REVISION 0xb2000001u
#define CALLS_UID 0xbf00ff01u
#define EXCHANGE_CAPABILITIES 0xb2000009u

struct call {
	u64 x[8];
};

struct message {
	u32 command, function, session, cancel_id, pad, result, origin, parameter_count;
	struct {
		u64 attributes, a, b, c;
	} parameters[4];
};

// What belongs to OP-TEE or to nobody: its RAM, its device tree, its GIC, its UART, KVM's GIC in its VM, nothing.
static const u64 foreign[] = {0x0e100000, 0x0e1ff000, 0x0efff000, 0x0d000000, 0x08000000, 0x080a0000, 0x09040000, 0x20000000, 0x30000000, 0xfffff000, 0xfffffffffffff000};
enum { FOREIGN = sizeof foreign / sizeof *foreign };

static int failed;

static void put(char character)
{
	*(volatile u32 *)UART = (unsigned char)character;
}

static void print(const char *text)
{
	while (*text)
		put(*text++);
}

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

#define DEFINE_CALL(name)                                                                                                                     \
	static struct call name(u64 function, u64 a1, u64 a2, u64 a3)                                                                         \
	{                                                                                                                                     \
		register u64 x0 __asm__("x0") = function;                                                                                     \
		register u64 x1 __asm__("x1") = a1;                                                                                           \
		register u64 x2 __asm__("x2") = a2;                                                                                           \
		register u64 x3 __asm__("x3") = a3;                                                                                           \
		register u64 x4 __asm__("x4") = 0;                                                                                            \
		register u64 x5 __asm__("x5") = 0;                                                                                            \
		register u64 x6 __asm__("x6") = 0;                                                                                            \
		register u64 x7 __asm__("x7") = 0;                                                                                            \
		__asm__ volatile(#name " #0"                                                                                                  \
				 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6), "+r"(x7)                             \
				 :                                                                                                            \
				 : "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory");                             \
		return (struct call){{x0, x1, x2, x3, x4, x5, x6, x7}};                                                                       \
	}

DEFINE_CALL(smc)
DEFINE_CALL(hvc)

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

void attack(void)
{
	struct call answer = smc(GET_OS_REVISION, 0, 0, 0);
	check("OP-TEE answers", answer.x[0], answer.x[0] == 4, answer.x[0]);
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
		check("resumption of nothing is refused", thread, answer.x[0] == ERESUME && answer.x[1] == 0x11 && answer.x[2] == 0x22, answer.x[0]);
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
	for (;;)
		hvc(0x84000008, 0, 0, 0);
}
