namespace OpTeeMediator.Backends;

/// <summary>The operations of a <see cref="ITeePartition"/>.</summary>
public enum TeeOperation
{
    /// <summary>No operation.</summary>
    None,

    /// <summary>Open a session with a trusted application.</summary>
    OpenSession,

    /// <summary>Invoke a command in a session.</summary>
    InvokeCommand,

    /// <summary>Close a session.</summary>
    CloseSession,

    /// <summary>Make a buffer of the guest known to the TEE.</summary>
    RegisterMemory,

    /// <summary>End that.</summary>
    UnregisterMemory,
}
