// A guest that does nothing but make fast calls, and prints what one takes: "refused NS" for calls that end in the VMM, "answered NS" for calls that OP-TEE
// answers. The difference is the switch to OP-TEE and back. The fastest of many each, in nanoseconds.
#include "bare.h"

enum { CALLS = 2000 };
#define MONITOR_CALL 0xbe000005u
#define GET_OS_REVISION 0xb2000001u

static u64 counter(void)
{
	u64 value;
	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value));
	return value;
}

static u64 frequency(void)
{
	u64 value;
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
	return value;
}

static void print_decimal(u64 number)
{
	if (number >= 10)
		print_decimal(number / 10);
	put((char)('0' + number % 10));
}

static void measure(const char *what, u32 function)
{
	u64 fastest = ~0UL;
	for (int i = 0; i < CALLS; i++) {
		u64 start = counter();
		smc(function, 0, 0, 0);
		u64 ticks = counter() - start;
		if (ticks < fastest)
			fastest = ticks;
	}
	print(what);
	put(' ');
	print_decimal(fastest * 1000000000 / frequency());
	put('\n');
}

void run(void)
{
	measure("refused", MONITOR_CALL);
	measure("answered", GET_OS_REVISION);
	measure("refused", MONITOR_CALL);
	measure("answered", GET_OS_REVISION);
	power_off();
}
