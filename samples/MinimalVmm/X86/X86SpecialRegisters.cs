using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MinimalVmm.X86;

/// <summary>Segment and control registers of an x86-64 vCPU (<c>struct kvm_sregs</c>).</summary>
/// <remarks>Plain data, laid out as the kernel has it.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct X86SpecialRegisters
{
    /// <summary>CS.</summary>
    public X86Segment Cs;

    /// <summary>DS.</summary>
    public X86Segment Ds;

    /// <summary>ES.</summary>
    public X86Segment Es;

    /// <summary>FS.</summary>
    public X86Segment Fs;

    /// <summary>GS.</summary>
    public X86Segment Gs;

    /// <summary>SS.</summary>
    public X86Segment Ss;

    /// <summary>TR.</summary>
    public X86Segment Tr;

    /// <summary>LDTR.</summary>
    public X86Segment Ldt;

    /// <summary>GDTR.</summary>
    public X86DescriptorTable Gdt;

    /// <summary>IDTR.</summary>
    public X86DescriptorTable Idt;

    /// <summary>CR0.</summary>
    public ulong Cr0;

    /// <summary>CR2.</summary>
    public ulong Cr2;

    /// <summary>CR3.</summary>
    public ulong Cr3;

    /// <summary>CR4.</summary>
    public ulong Cr4;

    /// <summary>CR8.</summary>
    public ulong Cr8;

    /// <summary>EFER.</summary>
    public ulong Efer;

    /// <summary>IA32_APIC_BASE.</summary>
    public ulong ApicBase;

    private Bitmap _interruptBitmap;

    /// <summary>The external interrupts that are pending: bit n of 256.</summary>
    [UnscopedRef]
    public Span<ulong> InterruptBitmap => _interruptBitmap;

    [InlineArray(4)]
    private struct Bitmap
    {
        private ulong _element0;
    }
}
