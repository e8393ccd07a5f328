namespace OpTeeMediator.Software.Hosting;

/// <summary>An instance of a trusted application, created and not yet destroyed.</summary>
/// <param name="application">The application's object.</param>
/// <param name="gate">Guards the instance: its entry points or, if it is concurrent, its beginning and end.</param>
internal sealed class ApplicationInstance(TrustedApplication application, Gate gate)
{
    private int _isDead;

    /// <summary>The application's object.</summary>
    public TrustedApplication Application => application;

    /// <summary>Guards the instance: its entry points or, if it is concurrent, its beginning and end.</summary>
    public Gate Gate => gate;

    /// <summary>The number of sessions; changed only inside <see cref="Gate"/>.</summary>
    public int Sessions { get; set; }

    /// <summary>Whether it has panicked.</summary>
    public bool IsDead => Volatile.Read(ref _isDead) != 0;

    /// <summary>Ends the instance's life.</summary>
    /// <returns><see langword="false"/> if it was dead already.</returns>
    public bool TryKill() => Interlocked.Exchange(ref _isDead, 1) == 0;
}
