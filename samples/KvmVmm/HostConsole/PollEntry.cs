using System.Runtime.InteropServices;

namespace KvmVmm.HostConsole;

/// <summary>The C library's <c>struct pollfd</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollEntry
{
    /// <summary>POLLIN.</summary>
    public const short In = 1;

    /// <summary>fd.</summary>
    public int Descriptor;

    /// <summary>events.</summary>
    public short Events;

    /// <summary>revents.</summary>
    public short Returned;
}
