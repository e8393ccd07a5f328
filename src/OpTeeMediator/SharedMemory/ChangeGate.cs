namespace OpTeeMediator.SharedMemory;

/// <summary>Lets calls look things up without a lock, and lets whoever takes things away know which calls still use them.</summary>
/// <remarks>
/// <para>A call does: read <see cref="Version"/>; look up; publish in its slot what it found; ask <see cref="IsUnchanged"/>. If that fails it does
/// the same again inside <see cref="Read"/>. A change happens inside <see cref="Change"/>, after which the changer looks through the slots.</para>
/// <para>Why nothing is missed: the call publishes, fences, reads the version; the changer raises the version, fences, reads the slots. In
/// every order of these, either the call sees the new version or the changer sees what the call published.</para>
/// </remarks>
internal sealed class ChangeGate
{
    private readonly Lock _lock = new();
    private int _version;

    /// <summary>The current version; odd while a change is going on.</summary>
    public int Version => Volatile.Read(ref _version);

    /// <summary>Whether all that was looked up since <paramref name="version"/> was read is still right. A full fence.</summary>
    public bool IsUnchanged(int version)
    {
        Interlocked.MemoryBarrier();
        return (version & 1) == 0 && Volatile.Read(ref _version) == version;
    }

    /// <summary>Keeps changes out until the scope is disposed of.</summary>
    public Lock.Scope Read() => _lock.EnterScope();

    /// <summary>Makes a change until the scope is disposed of. What is published before or during it is visible behind it: a full fence.</summary>
    public ChangeScope Change()
    {
        _lock.Enter();
        _ = Interlocked.Increment(ref _version);
        return new ChangeScope(this);
    }

    internal readonly ref struct ChangeScope(ChangeGate gate)
    {
        public void Dispose()
        {
            _ = Interlocked.Increment(ref gate._version);
            gate._lock.Exit();
        }
    }
}
