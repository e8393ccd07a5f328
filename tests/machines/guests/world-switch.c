// A guest that does nothing but make calls, and prints what one takes, the fastest of many, in nanoseconds: "kernel NS"
// for calls that KVM refuses, "vmm NS" for calls that end in the VMM, "op-tee NS" for calls that OP-TEE answers. What
// the last takes more than the second is the switch to OP-TEE and back.
#include "bare.h"

enum { CALLS = 2000 };
#define MONITOR_CALL 0xbe000005u
#define GET_OS_REVISION 0xb2000001u
#define RETURN_FROM_RPC 0x32000003u // of no call

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
	for (int repeat = 0; repeat < 2; repeat++) {
		measure("kernel", MONITOR_CALL);
		measure("vmm", RETURN_FROM_RPC);
		measure("op-tee", GET_OS_REVISION);
	}
	power_off();
}
