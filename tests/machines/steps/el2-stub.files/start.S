/* The stub's entry, its exception vectors, and what C cannot say. The MMU is off at EL2. */

    .section .text.start, "ax"
    .global _start
_start: /* the first CPU */
    msr     DAIFSet, #0xf
    adr     x1, boot_stack_top
    mov     sp, x1
    adr     x1, vectors
    msr     VBAR_EL2, x1
    isb
    bl      prepare_machine
    /* falls through: x0 is the first CPU's struct cpu */

    .global secondary_entry
secondary_entry: /* x0 is the struct cpu: entry, x0, stack_top */
    msr     DAIFSet, #0xf
    ldr     x1, [x0, #16]
    mov     sp, x1
    adr     x1, vectors
    msr     VBAR_EL2, x1
    isb
    mov     x19, x0
    bl      prepare_cpu
    ldp     x2, x0, [x19]
    msr     ELR_EL2, x2
    mov     x1, #0x3c5 /* EL1 with its own stack pointer, all interrupts masked */
    msr     SPSR_EL2, x1
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    isb
    eret

    /* u64 make_smc(u64 *x): an SMC with X0 to X7, which get its results */
    .global make_smc
make_smc:
    stp     x29, x30, [sp, #-32]!
    stp     x19, x20, [sp, #16]
    mov     x19, x0
    ldp     x0, x1, [x19]
    ldp     x2, x3, [x19, #16]
    ldp     x4, x5, [x19, #32]
    ldp     x6, x7, [x19, #48]
    smc     #0
    stp     x0, x1, [x19]
    stp     x2, x3, [x19, #16]
    stp     x4, x5, [x19, #32]
    stp     x6, x7, [x19, #48]
    ldp     x19, x20, [sp, #16]
    ldp     x29, x30, [sp], #32
    ret

    /* u64 semihosting(u64 operation, void *argument) */
    .global semihosting
semihosting:
    hlt     #0xf000
    ret

    .macro  UNEXPECTED number
    .balign 0x80
    mov     x0, #\number
    b       handle_unexpected
    .endm

    .balign 0x800
vectors:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7
    UNEXPECTED \number
    .endr
    .balign 0x80 /* 8: synchronous, from the guest */
    b       from_guest
    .irp    number, 9, 10, 11, 12, 13, 14, 15
    UNEXPECTED \number
    .endr

from_guest: /* saves what C functions may change, and hands over as struct frame */
    sub     sp, sp, #176
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x29, x30, [sp, #160]
    mov     x0, sp
    bl      handle_exception
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x29, x30, [sp, #160]
    add     sp, sp, #176
    eret

    .section .bss
    .balign 16
    .space  0x2000
boot_stack_top:
