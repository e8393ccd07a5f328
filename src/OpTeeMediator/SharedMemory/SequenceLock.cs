using System.Runtime.CompilerServices;

namespace OpTeeMediator.SharedMemory;

/// <summary>Lets calls look things up without a lock, and tells a change which calls use what it removes.</summary>
/// <remarks>
/// <para>A call does: read <see cref="Version"/>; look up; publish in its slot what it found; ask
/// <see cref="IsUnchanged"/>. If that fails it does the same again inside <see cref="Enter"/>. A change happens inside
/// <see cref="Enter"/> too, after which the changer looks through the slots.</para>
/// <para>Why nothing is missed: the call publishes, fences, reads the version; the changer raises the version,
/// fences, reads the slots. In every order of these, either the call sees the new version or the changer sees
/// what the call published.</para>
/// <para>The version is the lock as well: odd while someone is inside, which is short. Entering is a full fence.</para>
/// </remarks>
internal sealed class SequenceLock
{
    private int _version;

    /// <summary>The current version; odd while someone is inside.</summary>
    public int Version => Volatile.Read(ref _version);

    /// <summary>Whether what was looked up since <paramref name="version"/> was read holds. A full fence.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool IsUnchanged(int version)
    {
        Interlocked.MemoryBarrier();
        return (version & 1) == 0 && Volatile.Read(ref _version) == version;
    }

    /// <summary>Keeps all others out until the scope is disposed of.</summary>
    public Scope Enter()
    {
        int version = _version;
        if ((version & 1) != 0 || Interlocked.CompareExchange(ref _version, version + 1, version) != version)
        {
            WaitAndEnter();
        }

        return new Scope(this);
    }

    private void WaitAndEnter()
    {
        SpinWait spin = default;
        int version;
        do
        {
            spin.SpinOnce();
            version = Volatile.Read(ref _version);
        }
        while ((version & 1) != 0 || Interlocked.CompareExchange(ref _version, version + 1, version) != version);
    }

    internal readonly ref struct Scope(SequenceLock owner)
    {
        public void Dispose() => Volatile.Write(ref owner._version, owner._version + 1);
    }
}
