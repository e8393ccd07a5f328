/*
 * A partitioning hypervisor without a mediator: one guest at EL1 whose memory lies in scattered blocks, with interrupts
 * and devices of its own. Its SMCs to trusted operating systems go to a program on the host, through semihosting and
 * one pair of FIFOs for each CPU (cpuN.out, cpuN.in). That program mediates, and has the stub make SMCs to the
 * firmware.
 *
 * qemu holds a lock over all devices while a CPU is in semihosting. So the host must not wait for one CPU while another
 * one waits for the host, and the service CPU, which works at any time, talks through memory instead.
 */
#include "protocol.h"

#define PARAMETERS ((const volatile struct parameters *)(STUB_BASE + PARAMETERS_OFFSET))
#define MAILBOX ((volatile struct mailbox *)(STUB_BASE + MAILBOX_OFFSET))
#define LEVEL1 ((volatile u64 *)(STUB_BASE + TABLES_OFFSET))
#define LEVEL2 ((volatile u64 *)(STUB_BASE + TABLES_OFFSET + 0x1000))

#define GICD_CTLR ((volatile u32 *)0x08000000UL)
#define GICR(cpu) (0x080a0000UL + (cpu) * 0x20000UL)
#define GICR_ISENABLER0(cpu) ((volatile u32 *)(GICR(cpu) + 0x10100))
#define HYPERVISOR_TIMER_PPI 26

#define SMC_SYSTEM_OFF 0x84000008u
#define SMC_SYSTEM_RESET 0x84000009u
#define SMC_CPU_ON_32 0x84000003u
#define SMC_CPU_ON_64 0xc4000003u
#define NOT_SUPPORTED (~0UL)

#define EC_HVC 0x16
#define EC_SMC 0x17

/* Stage 2: 4 KiB granule, 39 bits of guest addresses, level 1 first, PA of 40 bits, write-back, inner shareable. */
#define VTCR (1UL << 31 | 2UL << 16 | 3UL << 12 | 1UL << 10 | 1UL << 8 | 1UL << 6 | 25)
#define VTTBR_VMID (1UL << 48)
#define TABLE 3UL
#define DEVICE_BLOCK (1UL << 10 | 3UL << 6 | 1UL << 2 | 1)         /* accessed, read and write, device memory */
/* accessed, inner shareable, read and write, write-back */
#define MEMORY_BLOCK (1UL << 10 | 3UL << 8 | 3UL << 6 | 15UL << 2 | 1)

/* EL1 is 64-bit; traps SMC; stage 2; set/way flushes are by address; pointer authentication is the guest's. Interrupts
   are not trapped. */
#define HCR (1UL << 31 | 1UL << 19 | 1UL << 0 | 1UL << 1 | 1UL << 40 | 1UL << 41)

#define read_register(name) ({ u64 value_; __asm__ volatile("mrs %0, " #name : "=r"(value_)); value_; })
#define write_register(name, value) __asm__ volatile("msr " #name ", %0" ::"r"((u64)(value)))

/* start.S */
u64 make_smc(u64 *x);
u64 semihosting(u64 operation, void *argument);
void secondary_entry(void);

/* What a CPU begins with: start.S knows the first three. */
static struct cpu {
    u64 entry;
    u64 x0;
    u64 stack_top;
    long out;
    long in;
    u64 stack[1024];
} __attribute__((aligned(16))) cpus[CPUS_AT_MOST];

/* The guest's registers at an exception, as start.S stores them. */
struct frame {
    u64 x[20];
    u64 x29, x30;
};

static u64 this_cpu(void) { return read_register(mpidr_el1) % CPUS_AT_MOST; }

static void print(const char *text) { semihosting(0x04, (void *)text); }

static void print_number(const char *name, u64 value)
{
    char text[18];
    for (int digit = 0; digit < 16; digit++)
        text[digit] = "0123456789abcdef"[value >> (60 - 4 * digit) & 15];
    text[16] = '\n';
    text[17] = 0;
    print(name);
    print(text);
}

/* Ends qemu. */
static void __attribute__((noreturn)) fail(const char *reason)
{
    u64 exit[2] = {0x20026, 1}; /* ADP_Stopped_ApplicationExit, status */
    print("el2-stub: ");
    print(reason);
    print("\n");
    for (;;)
        semihosting(0x18, exit);
}

static long open(const char *name, u64 length, u64 mode)
{
    u64 argument[3] = {(u64)name, mode, length};
    return (long)semihosting(0x01, argument);
}

static void send(struct cpu *cpu, struct message *message)
{
    u64 argument[3] = {(u64)cpu->out, (u64)message, sizeof *message};
    if (semihosting(0x05, argument))
        fail("the host does not read any more");
}

static void receive(struct cpu *cpu, struct message *message)
{
    char *place = (char *)message;
    u64 left = sizeof *message;
    while (left) {
        u64 argument[3] = {(u64)cpu->in, (u64)place, left};
        u64 unread = semihosting(0x06, argument);
        if (unread >= left)
            fail("the host does not write any more");
        place += left - unread;
        left = unread;
    }
}

static void __attribute__((noreturn)) stop(void)
{
    for (;;)
        __asm__ volatile("wfi");
}

/* Has the host answer a call of the guest. */
static void ask_host(u64 *x)
{
    struct cpu *cpu = &cpus[this_cpu()];
    struct message message = {.operation = GUEST_CALL};
    for (int index = 0; index < 8; index++)
        message.x[index] = x[index];
    send(cpu, &message);
    for (;;) {
        receive(cpu, &message);
        switch (message.operation) {
        case RETURN:
            for (int index = 0; index < 8; index++)
                x[index] = message.x[index];
            return;
        case MAKE_CALL:
            make_smc(message.x);
            message.operation = CALL_DONE;
            send(cpu, &message);
            break;
        case STOP:
            stop();
        default:
            fail("unknown message from the host");
        }
    }
}

static int is_standard(u32 function) { return (function >> 24 & 0x3f) == 4; }
static int is_architecture(u32 function) { return (function >> 24 & 0x3f) == 0; }
static int is_trusted_os(u32 function) { return (function >> 24 & 0x3f) >= 50; }

static void start_cpu(u64 number, void (*entry)(void), u64 *x)
{
    x[0] = SMC_CPU_ON_64;
    x[1] = number;
    x[2] = (u64)entry;
    x[3] = (u64)&cpus[number % CPUS_AT_MOST];
    make_smc(x);
}

static void handle_smc(u64 *x)
{
    u32 function = (u32)x[0];
    if (function == SMC_CPU_ON_32 || function == SMC_CPU_ON_64) {
        struct cpu *target = &cpus[x[1] % CPUS_AT_MOST];
        if (x[1] == PARAMETERS->service_cpu) {
            x[0] = NOT_SUPPORTED;
            return;
        }
        target->entry = x[2];
        target->x0 = x[3];
        start_cpu(x[1], secondary_entry, x);
    } else if (is_trusted_os(function) || function == SMC_SYSTEM_OFF || function == SMC_SYSTEM_RESET) {
        ask_host(x);
    } else if (is_standard(function) || is_architecture(function)) {
        make_smc(x);
    } else {
        x[0] = NOT_SUPPORTED;
    }
}

/* start.S calls this at a synchronous exception of the guest. */
void handle_exception(struct frame *frame)
{
    u64 class = read_register(esr_el2) >> 26;
    switch (class) {
    case EC_SMC:
        write_register(elr_el2, read_register(elr_el2) + 4); /* it points at the instruction; at an HVC behind it */
        handle_smc(frame->x);
        break;
    case EC_HVC:
        frame->x[0] = NOT_SUPPORTED;
        break;
    default:
        print_number("ESR_EL2  ", read_register(esr_el2));
        print_number("FAR_EL2  ", read_register(far_el2));
        print_number("HPFAR_EL2", read_register(hpfar_el2));
        print_number("ELR_EL2  ", read_register(elr_el2));
        fail("the guest did something unexpected");
    }
}

/* start.S calls this at every other exception. */
void handle_unexpected(u64 vector)
{
    print_number("vector   ", vector);
    print_number("ESR_EL2  ", read_register(esr_el2));
    print_number("ELR_EL2  ", read_register(elr_el2));
    fail("unexpected exception");
}

static void sleep_a_moment(void)
{
    write_register(cnthp_tval_el2, read_register(cntfrq_el0) / 2000);
    write_register(cnthp_ctl_el2, 1);
    __asm__ volatile("isb; wfi");
    write_register(cnthp_ctl_el2, 0);
}

/* The service CPU: interrupts stay masked, the timer's only wakes it. */
static void __attribute__((noreturn)) serve(void)
{
    const int polls = 5000;
    u64 cpu = this_cpu(), done = 0;
    write_register(S3_4_C12_C9_5, read_register(S3_4_C12_C9_5) | 9); /* ICC_SRE_EL2 */
    __asm__ volatile("isb");
    write_register(S3_0_C12_C12_5, 1);                               /* ICC_SRE_EL1 */
    write_register(S3_0_C4_C6_0, 0xff);                              /* ICC_PMR_EL1 */
    write_register(S3_0_C12_C12_7, 1);                               /* ICC_IGRPEN1_EL1 */
    *GICD_CTLR |= 1 << 4 | 1 << 1;                                   /* affinity routing, group 1 */
    *GICR_ISENABLER0(cpu) = 1u << HYPERVISOR_TIMER_PPI;
    for (;;) {
        for (int poll = 0; MAILBOX->asked == done; poll++) {
            if (poll < polls)
                __asm__ volatile("yield");
            else
                sleep_a_moment();
        }
        u64 x[8];
        __asm__ volatile("dmb sy" ::: "memory");
        for (int index = 0; index < 8; index++)
            x[index] = MAILBOX->x[index];
        make_smc(x);
        for (int index = 0; index < 8; index++)
            MAILBOX->x[index] = x[index];
        __asm__ volatile("dmb sy" ::: "memory");
        MAILBOX->answered = ++done;
    }
}

/* start.S calls this on every CPU before it enters the guest. */
void prepare_cpu(struct cpu *cpu)
{
    u64 number = this_cpu();
    if (number == PARAMETERS->service_cpu)
        serve();

    char out[] = "cpu0.out", in[] = "cpu0.in";
    out[3] = in[3] = (char)('0' + number);
    if (!cpu->in) {
        cpu->out = open(out, sizeof out - 1, 5); /* wb */
        cpu->in = open(in, sizeof in - 1, 1);    /* rb */
        if (cpu->out < 0 || cpu->in < 0)
            fail("cannot open the FIFOs");
    }

    write_register(vtcr_el2, VTCR);
    write_register(vttbr_el2, (u64)LEVEL1 | VTTBR_VMID);
    write_register(vpidr_el2, read_register(midr_el1));
    write_register(vmpidr_el2, read_register(mpidr_el1));
    write_register(cnthctl_el2, 3); /* timers are the guest's */
    write_register(cntvoff_el2, 0);
    write_register(cptr_el2, 0x32ff); /* so is floating point */
    write_register(hstr_el2, 0);
    write_register(mdcr_el2, read_register(pmcr_el0) >> 11 & 0x1f);
    write_register(sctlr_el1, 0x30d00800);
    /* ICC_SRE_EL2: the GIC's registers are the guest's */
    write_register(S3_4_C12_C9_5, read_register(S3_4_C12_C9_5) | 0xf);
    __asm__ volatile("isb");
    write_register(S3_4_C12_C11_0, 0); /* ICH_HCR_EL2 */
    write_register(hcr_el2, HCR);
    __asm__ volatile("dsb sy; tlbi vmalls12e1; dsb sy; isb");
}

/* start.S calls this on the first CPU. */
struct cpu *prepare_machine(void)
{
    if (PARAMETERS->magic != PARAMETERS_MAGIC)
        fail("found no parameters");

    for (int index = 0; index < 512; index++)
        LEVEL1[index] = LEVEL2[index] = 0;
    LEVEL1[0] = DEVICE_BLOCK; /* the first GiB: devices, where they are */
    LEVEL1[GUEST_START >> 30] = (u64)LEVEL2 | TABLE;
    for (u64 index = 0; index < PARAMETERS->blocks && index < BLOCKS_AT_MOST; index++)
        LEVEL2[index] = PARAMETERS->block[index] | MEMORY_BLOCK;
    for (int index = 0; index < CPUS_AT_MOST; index++)
        cpus[index].stack_top = (u64)(cpus[index].stack + 1024);
    __asm__ volatile("dsb sy" ::: "memory");

    if (PARAMETERS->service_cpu < CPUS_AT_MOST) {
        u64 x[8] = {0};
        start_cpu(PARAMETERS->service_cpu, secondary_entry, x);
        if (x[0])
            fail("cannot start the service CPU");
    }

    /* Semihosting would hold up the service CPU. */
    while (!PARAMETERS->go)
        __asm__ volatile("yield");
    cpus[0].entry = PARAMETERS->entry;
    cpus[0].x0 = PARAMETERS->x0;
    return &cpus[0];
}
