namespace OpTeeMediator.Testing.Forwarding;

/// <summary>What <see cref="FakeOpTee"/> has for one VM.</summary>
public sealed class FakePartition(int id, int threads)
{
    public int Id { get; } = id;

    public IReadOnlyList<FakeThread> Threads { get; } =
        [.. Enumerable.Range(0, threads).Select(index => new FakeThread(index))];

    /// <summary>Registered memory: the physical addresses of the pages, and whether the guest may unregister it. The
    /// newest first, doubles among it.</summary>
    public List<(ulong Cookie, ulong[] Pages, bool IsGuarded)> Memory { get; } = [];

    public HashSet<uint> Sessions { get; } = [];

    public uint LastSession { get; set; }

    public bool CachesRpcBuffers { get; set; }

    public ulong[]? Find(ulong cookie) => Memory.Find(one => one.Cookie == cookie).Pages;
}
