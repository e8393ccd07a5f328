using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>A session as the guest sees it.</summary>
internal sealed class Session(uint id, Guid application)
{
    /// <summary>The guest's name for the session: generation and place in the table; never 0.</summary>
    public uint Id => id;

    public Guid Application => application;

    /// <summary>The backend's session, once it is open.</summary>
    public ITeeSession? Backend { get; set; }

    /// <summary>Where the session's operations run, from its opening to its closing.</summary>
    public TeeExecution Execution { get; set; }

    /// <summary>Whether commands may be invoked: not while it is being opened or closed.</summary>
    public bool IsOpen { get; set; }
}
