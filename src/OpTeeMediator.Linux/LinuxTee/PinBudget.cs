namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>How much memory of the host one VM may keep pinned by the TEE.</summary>
/// <remarks>Thread-safe. No rlimit counts these pages or the files that keep them, so this is the only bound.</remarks>
internal sealed class PinBudget(long maximumBytes, int maximumRegistrations, int pageSize)
{
    private long _bytes;
    private int _registrations;

    internal long MaximumBytes => maximumBytes;

    internal int MaximumRegistrations => maximumRegistrations;

    internal long Bytes => Volatile.Read(ref _bytes);

    internal int Registrations => Volatile.Read(ref _registrations);

    /// <summary>The bytes of the pages that contain a range of addresses or of a file, as the kernel pins whole ones;
    /// negative if they are beyond all limits.</summary>
    internal long PinnedBytes(ulong address, ulong size)
    {
        ulong page = (ulong)pageSize;
        return size > long.MaxValue - (2 * page)
            ? -1
            : (long)(((address & (page - 1)) + size + page - 1) / page * page);
    }

    /// <summary>Takes one registration's share, or nothing if there is not enough left.</summary>
    internal bool TryTake(long bytes)
    {
        if (Interlocked.Increment(ref _registrations) <= maximumRegistrations)
        {
            if (Interlocked.Add(ref _bytes, bytes) <= maximumBytes)
            {
                return true;
            }

            _ = Interlocked.Add(ref _bytes, -bytes);
        }

        _ = Interlocked.Decrement(ref _registrations);
        return false;
    }

    internal void Return(long bytes)
    {
        _ = Interlocked.Add(ref _bytes, -bytes);
        _ = Interlocked.Decrement(ref _registrations);
    }
}
