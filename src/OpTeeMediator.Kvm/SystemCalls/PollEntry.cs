using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary><c>struct pollfd</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollEntry
{
    /// <summary>POLLIN.</summary>
    internal const short In = 1;

    internal int FileDescriptor;
    internal short Events;
    internal short ReturnedEvents;
}
