// What KVM needs at least for a world switch: two VMs whose one CPU each does nothing but leave to user space again and
// again. Prints "same NS" for an entry and exit of the VM that ran last, "other NS" for one of the VM that did not, and
// "register NS" for an access to one register. The fastest of many each, in nanoseconds.

#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

enum { ROUNDS = 2000, RAM = 0x10000, LENGTH = 0x10000 };

static const uint32_t leave_for_ever[] = {
	0xd2b00001, // mov x1, #0x80000000: no memory is there
	0xf9000020, // str x0, [x1]
	0x17ffffff, // b to the store
};

struct vm {
	int cpu;
	struct kvm_run *run;
};

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static struct vm create(int kvm)
{
	struct kvm_vcpu_init init;
	uint64_t pc = RAM;
	struct kvm_one_reg start = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc),
		.addr = (uintptr_t)&pc,
	};
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	void *ram = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = RAM,
		.memory_size = LENGTH,
		.userspace_addr = (uintptr_t)ram,
	};
	struct vm result;

	memcpy(ram, leave_for_ever, sizeof leave_for_ever);
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	result.cpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	check(ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init), "KVM_ARM_PREFERRED_TARGET");
	check(ioctl(result.cpu, KVM_ARM_VCPU_INIT, &init), "KVM_ARM_VCPU_INIT");
	check(ioctl(result.cpu, KVM_SET_ONE_REG, &start), "KVM_SET_ONE_REG");
	result.run = mmap(NULL, check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE"),
			  PROT_READ | PROT_WRITE, MAP_SHARED, result.cpu, 0);
	return result;
}

static void enter(struct vm *vm)
{
	check(ioctl(vm->cpu, KVM_RUN, 0), "KVM_RUN");
	if (vm->run->exit_reason != KVM_EXIT_MMIO) {
		fprintf(stderr, "exit %u\n", vm->run->exit_reason);
		exit(1);
	}
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void measure(const char *what, struct vm *measured, struct vm *before)
{
	double fastest = 1e18;
	for (int round = 0; round < ROUNDS; round++) {
		enter(before);
		double start = now();
		enter(measured);
		double taken = now() - start;
		if (taken < fastest)
			fastest = taken;
	}
	printf("%s %.0f\n", what, fastest);
}

static void measure_register(struct vm *vm)
{
	uint64_t value;
	struct kvm_one_reg x0 = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.regs[0]),
		.addr = (uintptr_t)&value,
	};
	double fastest = 1e18;
	for (int round = 0; round < ROUNDS; round++) {
		double start = now();
		check(ioctl(vm->cpu, KVM_GET_ONE_REG, &x0), "KVM_GET_ONE_REG");
		double taken = now() - start;
		if (taken < fastest)
			fastest = taken;
	}
	printf("register %.0f\n", fastest);
}

int main(void)
{
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	struct vm one = create(kvm), two = create(kvm);
	for (int repeat = 0; repeat < 2; repeat++) {
		measure("same", &one, &one);
		measure("other", &one, &two);
		measure_register(&one);
	}
	return 0;
}
