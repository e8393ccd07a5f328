using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MinimalVmm.X86;

/// <summary>GDTR or IDTR (<c>struct kvm_dtable</c>).</summary>
/// <remarks>Plain data, laid out as the kernel has it.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct X86DescriptorTable
{
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
