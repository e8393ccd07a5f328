using OpTeeMediator.Backends;

namespace OpTeeMediator.Remote.Server;

/// <summary>A session that a VM has open.</summary>
internal sealed class HostedSession(uint number, ITeeSession session, Guid application, TeeExecution execution)
{
    private int _uses;

    /// <summary>By which the client knows it.</summary>
    public uint Number { get; } = number;

    public ITeeSession Session { get; } = session;

    /// <summary>With which application it is.</summary>
    public Guid Application { get; } = application;

    /// <summary>Where its operations run.</summary>
    public TeeExecution Execution { get; } = execution;

    /// <summary>Whether a command runs in it.</summary>
    public bool IsUsed => Volatile.Read(ref _uses) != 0;

    public void AddUse() => _ = Interlocked.Increment(ref _uses);

    public void RemoveUse() => _ = Interlocked.Decrement(ref _uses);
}
