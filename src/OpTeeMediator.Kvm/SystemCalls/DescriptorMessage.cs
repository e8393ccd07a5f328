using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>The control data of a message that carries one descriptor: <c>struct cmsghdr</c>, SCM_RIGHTS.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DescriptorMessage
{
    /// <summary>The header's length and the descriptor's, without the padding (CMSG_LEN).</summary>
    internal const int UsedLength = 20;

    internal nuint Length;
    internal int Level;
    internal int Type;
    internal int Descriptor;
    internal int Padding;
}
