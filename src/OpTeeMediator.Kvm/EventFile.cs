using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm;

/// <summary>An eventfd: a counter of signals, which KVM can add to and wait for.</summary>
/// <remarks>Thread-safe.</remarks>
[Experimental("OPTEE001")]
public sealed class EventFile : IDisposable
{
    private readonly SafeFileHandle _file;

    private EventFile(SafeFileHandle file) => _file = file;

    /// <summary>The file; it stays owned by this object. KVM keeps it open where it was added.</summary>
    public SafeHandle Handle => _file;

    /// <summary>Creates an eventfd without signals, which a child process does not inherit.</summary>
    /// <exception cref="SystemCallException">The process or the host has too many files open.</exception>
    public static EventFile Create()
    {
        int descriptor = LibC.CreateEventFile(0, LibC.O_CLOEXEC | LibC.O_NONBLOCK);
        return descriptor >= 0
            ? new EventFile(Descriptor.Own(descriptor))
            : throw new SystemCallException(
                "eventfd", Errno.Last, "EMFILE, ENFILE: too many files are open in this process or on this host.");
    }

    /// <summary>Signals the event.</summary>
    /// <exception cref="SystemCallException">Its counter is full, after 2⁶⁴ − 2 signals.</exception>
    public unsafe void Signal()
    {
        ulong one = 1;
        if (LibC.Write(_file, &one, sizeof(ulong)) != sizeof(ulong))
        {
            throw new SystemCallException("Signalling an eventfd", Errno.Last, "");
        }
    }

    /// <summary>Takes all signals since the last call.</summary>
    /// <param name="timeout">How long to wait for one, up to 2³¹ − 1 milliseconds; 0 not at all,
    /// <see cref="Timeout.InfiniteTimeSpan"/> for as long as it takes.</param>
    /// <param name="count">The number of signals.</param>
    /// <returns><see langword="false"/> if there was none.</returns>
    /// <exception cref="SystemCallException">The host failed.</exception>
    public unsafe bool TryTake(TimeSpan timeout, out ulong count)
    {
        long start = Environment.TickCount64;
        while (true)
        {
            ulong value = 0;
            if (LibC.Read(_file, &value, sizeof(ulong)) == sizeof(ulong))
            {
                count = value;
                return true;
            }

            int error = Errno.Last;
            if (error is not (Errno.EAGAIN or Errno.EINTR))
            {
                throw new SystemCallException("Reading an eventfd", error, "");
            }

            long left = timeout == Timeout.InfiniteTimeSpan
                ? -1
                : long.Max(0, (long)timeout.TotalMilliseconds - (Environment.TickCount64 - start));
            PollEntry entry = new() { FileDescriptor = (int)_file.DangerousGetHandle(), Events = PollEntry.In };
            int ready = left == 0 ? 0 : LibC.Poll(&entry, 1, (int)long.Min(left, int.MaxValue));
            GC.KeepAlive(_file);
            if (ready < 0 && Errno.Last != Errno.EINTR)
            {
                throw new SystemCallException("Waiting for an eventfd", Errno.Last, "");
            }

            if (ready == 0 && (left == 0 || left > 0 && Environment.TickCount64 - start >= timeout.TotalMilliseconds))
            {
                count = 0;
                return false;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
