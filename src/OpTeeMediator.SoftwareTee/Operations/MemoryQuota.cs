namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>What the applications of a VM may allocate. Thread-safe.</summary>
/// <param name="quota">How much, in bytes.</param>
internal sealed class MemoryQuota(long quota)
{
    private long _used;

    /// <summary>How much is allocated, in bytes.</summary>
    public long Used => Volatile.Read(ref _used);

    /// <summary>Takes bytes, unless that would be too much.</summary>
    public bool TryTake(long size)
    {
        if (Interlocked.Add(ref _used, size) <= quota)
        {
            return true;
        }

        Return(size);
        return false;
    }

    /// <summary>Gives bytes back.</summary>
    public void Return(long size) => Interlocked.Add(ref _used, -size);
}
