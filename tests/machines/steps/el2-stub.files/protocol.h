/* What the stub and the program on the host that drives it agree on; its other side is
   tests/OpTeeMediator.Machines/Partitioned. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

typedef unsigned int u32;
typedef unsigned long u64;

#define BLOCK_SIZE (2UL << 20)
#define GUEST_START 0x40000000UL
#define BLOCKS_AT_MOST 512
#define CPUS_AT_MOST 8

/* The host writes this to STUB_BASE + PARAMETERS_OFFSET before the machine starts, and `go` when it reads the FIFOs. */
#define PARAMETERS_OFFSET 0x100000
#define PARAMETERS_MAGIC 0x32504c4545504f54UL

struct parameters {
    u64 magic;
    u64 entry;          /* the guest's first instruction */
    u64 x0;             /* what it finds in X0: the device tree */
    u64 service_cpu;    /* makes SMCs for the host and runs no guest; CPUS_AT_MOST if there is none */
    u64 go;             /* not 0: the guest may run */
    u64 blocks;         /* of guest memory, from GUEST_START on */
    u64 block[BLOCKS_AT_MOST]; /* the physical address of each */
};

/* One message, in both directions: ten numbers of 64 bits. */
struct message {
    u64 operation;
    u64 detail;
    u64 x[8];
};

/* From a CPU to the host */
#define GUEST_CALL 1    /* the guest's SMC: x; a call of a trusted OS, or PSCI's SYSTEM_OFF and SYSTEM_RESET */
#define CALL_DONE 2     /* the answer to MAKE_CALL: x */

/* From the host to a CPU */
#define RETURN 0        /* back to the guest with x */
#define MAKE_CALL 1     /* make an SMC with x, answer CALL_DONE */
#define STOP 3          /* stop the CPU for good */

/* The service CPU's mailbox, at STUB_BASE + MAILBOX_OFFSET. The host fills the message and then raises `asked`; the CPU
   makes the call, stores x and then sets `answered` to the same. */
#define MAILBOX_OFFSET 0x110000

struct mailbox {
    u64 asked;
    u64 answered;
    u64 x[8];
};

#define TABLES_OFFSET 0x120000

#endif
