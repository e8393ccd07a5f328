using System.Runtime.InteropServices;

namespace MinimalVmm.X86;

/// <summary>A segment register with its hidden part (<c>struct kvm_segment</c>).</summary>
/// <remarks>Plain data, laid out as the kernel has it.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct X86Segment
{
    public ulong Base;

    /// <summary>The limit in bytes, inclusive.</summary>
    public uint Limit;
    public ushort Selector;

    /// <summary>The type: 3 data, 11 code, as in the descriptor.</summary>
    public byte Type;

    /// <summary>P: 1 if present.</summary>
    public byte IsPresent;

    /// <summary>DPL, 0–3.</summary>
    public byte PrivilegeLevel;

    /// <summary>D/B: 1 for 32-bit operands.</summary>
    public byte IsDefault32;

    /// <summary>S: 1 for code and data, 0 for system segments.</summary>
    public byte IsCodeOrData;

    /// <summary>L: 1 for 64-bit code.</summary>
    public byte IsLong;

    /// <summary>G: 1 if the limit counts pages.</summary>
    public byte IsGranular;

    /// <summary>AVL.</summary>
    public byte Available;

    /// <summary>1 if the segment may not be used.</summary>
    public byte IsUnusable;

    private byte _padding;
}
