namespace OpTeeMediator.Remote.Client;

/// <summary>A registered buffer as a server knows it; kept in the buffer's
/// <see cref="Backends.TeeSharedMemory.BackendState"/>.</summary>
internal sealed class RemoteBuffer
{
    /// <summary>Held while the buffer is registered with a server.</summary>
    public Lock Lock { get; } = new();

    /// <summary>The connection whose server knows the buffer; <see langword="null"/> if none does.</summary>
    public ServerConnection? Connection { get; set; }

    /// <summary>The buffer's number there.</summary>
    public uint Number { get; set; }

    /// <summary>Of how many pieces it consists there.</summary>
    public int Pieces { get; set; }
}
