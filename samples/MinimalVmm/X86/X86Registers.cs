using System.Runtime.InteropServices;

namespace MinimalVmm.X86;

/// <summary>The general registers of an x86-64 vCPU (<c>struct kvm_regs</c>).</summary>
/// <remarks>Plain data, laid out as the kernel has it.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct X86Registers
{
    public ulong Rax;
    public ulong Rbx;
    public ulong Rcx;
    public ulong Rdx;
    public ulong Rsi;
    public ulong Rdi;
    public ulong Rsp;
    public ulong Rbp;
    public ulong R8;
    public ulong R9;
    public ulong R10;
    public ulong R11;
    public ulong R12;
    public ulong R13;
    public ulong R14;
    public ulong R15;
    public ulong Rip;

    /// <summary>RFLAGS; bit 1 is always set.</summary>
    public ulong Rflags;
}
