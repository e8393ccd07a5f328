using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.Kvm.X86;

/// <summary>GDTR or IDTR (<c>struct kvm_dtable</c>).</summary>
/// <remarks>Plain data, laid out as the kernel has it.</remarks>
[Experimental("OPTEE001")]
[StructLayout(LayoutKind.Sequential)]
[SuppressMessage("Design", "CA1051:Do not declare visible instance fields", Justification = "A structure of the kernel's ABI, used in place in memory shared with it.")]
public struct X86DescriptorTable
{
    /// <summary>The base address.</summary>
    public ulong Base;

    /// <summary>The limit in bytes, inclusive.</summary>
    public ushort Limit;

    private Padding _padding;

    [InlineArray(3)]
    private struct Padding
    {
        private ushort _element0;
    }
}
