using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>An instance of a trusted application, created and not yet destroyed.</summary>
/// <remarks>
/// What the instance holds, that is its application and the contexts of its sessions, is disposed of once: after its
/// Destroy, or, if it has panicked, when the last of its entry points has returned. Thread-safe.
/// </remarks>
/// <param name="application">The application's object.</param>
/// <param name="entryLock">Guards its entry points or, if it is concurrent, its beginning and end.</param>
/// <param name="host">Disposes of what the application held, and logs.</param>
/// <param name="opened">The sessions that the application has opened with others.</param>
internal sealed class ApplicationInstance(
    TrustedApplication application, EntryLock entryLock, ApplicationHost host, OpenedSessions opened)
{
    private readonly Lock _lock = new();
    private readonly List<ApplicationSession> _open = [];
    private readonly List<Task> _overruns = [];
    private int _isDead;
    private int _sessions;
    private int _endsWithLastSession;
    private int _inside;
    private int _isReleased;

    /// <summary>The application's object.</summary>
    public TrustedApplication Application => application;

    /// <summary>The sessions that the application has opened with others.</summary>
    public OpenedSessions Opened => opened;

    /// <summary>Guards the instance: its entry points or, if it is concurrent, its beginning and end.</summary>
    public EntryLock EntryLock => entryLock;

    /// <summary>The number of sessions; changed only inside <see cref="EntryLock"/>.</summary>
    public int Sessions => Volatile.Read(ref _sessions);

    /// <summary>Whether the instance ends with its last session anyway: it is from before the VM's reset.</summary>
    public bool EndsWithLastSession
    {
        get => Volatile.Read(ref _endsWithLastSession) != 0;
        set => Interlocked.Exchange(ref _endsWithLastSession, value ? 1 : 0);
    }

    /// <summary>Whether it has panicked.</summary>
    public bool IsDead => Volatile.Read(ref _isDead) != 0;

    /// <summary>Whether its Create has used trusted storage, which that of a restored instance does not get.</summary>
    public bool HasUsedStorageInCreate { get; init; }

    /// <summary>Whether the instance can go on in another process: it says how, can be created there, is inside no
    /// entry point, and has no session with another application.</summary>
    public bool CanSave => application is ISavableApplication && !HasUsedStorageInCreate
        && Volatile.Read(ref _inside) == 0 && Opened.IsEmpty;

    /// <summary>Ends the instance's life.</summary>
    public bool TryKill() => Interlocked.Exchange(ref _isDead, 1) == 0;

    /// <summary>A session begins. The caller is inside <see cref="EntryLock"/>.</summary>
    public void Add(ApplicationSession session)
    {
        lock (_lock)
        {
            _open.Add(session);
        }

        _ = Interlocked.Increment(ref _sessions);
    }

    /// <summary>A session has ended. The caller is inside <see cref="EntryLock"/>.</summary>
    public void Remove(ApplicationSession session)
    {
        lock (_lock)
        {
            _ = _open.Remove(session);
        }

        _ = Interlocked.Decrement(ref _sessions);
    }

    /// <summary>Begins an entry point.</summary>
    /// <returns><see langword="false"/> if it is dead. Either way <see cref="ExitAsync"/> must follow.</returns>
    public bool Enter()
    {
        // A full fence: the one who has killed the instance and leaves it sees this entry, or is seen here.
        _ = Interlocked.Increment(ref _inside);
        return !IsDead;
    }

    /// <summary>Ends an entry point; of a dead instance the last one disposes of what it held.</summary>
    public ValueTask ExitAsync(TeeRequest root) =>
        Interlocked.Decrement(ref _inside) == 0 && IsDead ? ReleaseAsync(root) : default;

    /// <summary>Notes an entry point that should have ended; what the instance holds is kept until it does.</summary>
    public void AddOverrun(Task entry)
    {
        lock (_lock)
        {
            _overruns.Add(entry);
        }
    }

    /// <summary>Disposes of the contexts of the sessions and of the application, once.</summary>
    /// <param name="root">The guest's operation that is inside.</param>
    public ValueTask ReleaseAsync(TeeRequest root) =>
        Interlocked.Exchange(ref _isReleased, 1) == 0 ? ReleaseOnceAsync(root) : default;

    private async ValueTask ReleaseOnceAsync(TeeRequest root)
    {
        ApplicationSession[] sessions;
        Task[] overruns;
        lock (_lock)
        {
            sessions = [.. _open];
            overruns = [.. _overruns];
        }

        foreach (Task overrun in overruns)
        {
            await overrun.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        foreach (ApplicationSession session in sessions)
        {
            await session.ReleaseContextAsync().ConfigureAwait(false);
        }

        await host.DisposeApplicationAsync(application).ConfigureAwait(false);

        // Still on the operation's thread unless something asynchronous was waited for.
        opened.CloseAll(overruns.Length == 0 ? root.Guest : null, root);
    }
}
