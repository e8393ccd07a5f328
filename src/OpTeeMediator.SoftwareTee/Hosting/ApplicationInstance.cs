namespace OpTeeMediator.Software.Hosting;

/// <summary>An instance of a trusted application, created and not yet destroyed.</summary>
/// <param name="application">The application's object.</param>
/// <param name="gate">Guards the instance: its entry points or, if it is concurrent, its beginning and end.</param>
internal sealed class ApplicationInstance(TrustedApplication application, Gate gate)
{
    private int _isDead;
    private int _sessions;
    private int _endsWithLastSession;

    /// <summary>The application's object.</summary>
    public TrustedApplication Application => application;

    /// <summary>Guards the instance: its entry points or, if it is concurrent, its beginning and end.</summary>
    public Gate Gate => gate;

    /// <summary>The number of sessions; changed only inside <see cref="Gate"/>.</summary>
    public int Sessions
    {
        get => Volatile.Read(ref _sessions);
        set => Interlocked.Exchange(ref _sessions, value);
    }

    /// <summary>Whether the instance ends without a session even if its application wants it kept: it is from before the VM's reset.</summary>
    public bool EndsWithLastSession
    {
        get => Volatile.Read(ref _endsWithLastSession) != 0;
        set => Interlocked.Exchange(ref _endsWithLastSession, value ? 1 : 0);
    }

    /// <summary>Whether it has panicked.</summary>
    public bool IsDead => Volatile.Read(ref _isDead) != 0;

    /// <summary>Ends the instance's life.</summary>
    /// <returns><see langword="false"/> if it was dead already.</returns>
    public bool TryKill() => Interlocked.Exchange(ref _isDead, 1) == 0;
}
