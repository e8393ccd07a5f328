using System.Runtime.InteropServices;

namespace MinimalVmm.Guest;

/// <summary>The first 32 bytes of a message (<c>struct optee_msg_arg</c>); the parameters follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct MessageHeader(
    MessageCommand Command,
    uint Function,
    uint Session,
    uint CancelId,
    uint Padding,
    uint Return,
    uint ReturnOrigin,
    uint ParameterCount)
{
    /// <summary>The size of the header in bytes.</summary>
    public const ulong Size = 32;

    public const ulong CommandOffset = 0;
    public const ulong SessionOffset = 8;
    public const ulong PaddingOffset = 16;
    public const ulong ReturnOffset = 20;
    public const ulong ReturnOriginOffset = 24;
}
