// What guests without a kernel begin with: the form of a kernel Image, a UART, SMC and HVC. Each has one file, which
// includes this and defines run().
//
// They run with their MMU off, so that they and OP-TEE see the same memory with different cache attributes; on hardware
// they would have to clean their caches.

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
	"	bl run\n");

enum { UART = 0x9000000 };

struct call {
	u64 x[8];
};

static void put(char character)
{
	*(volatile u32 *)UART = (unsigned char)character;
}

static void print(const char *text)
{
	while (*text)
		put(*text++);
}

#define DEFINE_CALL(name) \
	static struct call name(u64 function, u64 a1, u64 a2, u64 a3) \
	{ \
		register u64 x0 __asm__("x0") = function; \
		register u64 x1 __asm__("x1") = a1; \
		register u64 x2 __asm__("x2") = a2; \
		register u64 x3 __asm__("x3") = a3; \
		register u64 x4 __asm__("x4") = 0; \
		register u64 x5 __asm__("x5") = 0; \
		register u64 x6 __asm__("x6") = 0; \
		register u64 x7 __asm__("x7") = 0; \
		__asm__ volatile(#name " #0" \
				 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6), "+r"(x7) \
				 : \
				 : "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory"); \
		return (struct call){{x0, x1, x2, x3, x4, x5, x6, x7}}; \
	}

DEFINE_CALL(smc)
DEFINE_CALL(hvc)

static void __attribute__((noreturn)) power_off(void)
{
	for (;;)
		hvc(0x84000008, 0, 0, 0);
}
