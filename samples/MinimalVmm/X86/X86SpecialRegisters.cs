using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MinimalVmm.X86;

/// <summary>Segment and control registers of an x86-64 vCPU (<c>struct kvm_sregs</c>).</summary>
/// <remarks>Plain data, laid out as the kernel has it.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct X86SpecialRegisters
{
    public X86Segment Cs;
    public X86Segment Ds;
    public X86Segment Es;
    public X86Segment Fs;
    public X86Segment Gs;
    public X86Segment Ss;
    public X86Segment Tr;
    public X86Segment Ldt;
    public X86DescriptorTable Gdt;
    public X86DescriptorTable Idt;
    public ulong Cr0;
    public ulong Cr2;
    public ulong Cr3;
    public ulong Cr4;
    public ulong Cr8;
    public ulong Efer;

    /// <summary>IA32_APIC_BASE.</summary>
    public ulong ApicBase;

    private Bitmap _interruptBitmap;

    [InlineArray(4)]
    private struct Bitmap
    {
        private ulong _element0;
    }
}
