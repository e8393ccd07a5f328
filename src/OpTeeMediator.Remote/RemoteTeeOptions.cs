using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Remote;

/// <summary>How <see cref="RemoteTeeBackend"/> reaches its server. Every property but the path has a default.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record RemoteTeeOptions
{
    /// <summary>The path of the server's Unix socket, at most 107 bytes.</summary>
    public required string SocketPath { get; init; }

    /// <summary>How long the server may take to accept a VM: 0.1 to 600 seconds. Default 10 seconds.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long the server may leave frames unread before it counts as gone: 0.1 to 600 seconds. Default 10 seconds.
    /// </summary>
    /// <remarks>A server that works on a call reads all the same; the time of a call is not limited.</remarks>
    public TimeSpan SendTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long an operation may run on when its VM is reset or destroyed: 0.1 to 600 seconds. Default 10 seconds. Then
    /// the connection is closed, as nothing of the VM is needed any more, and a server with a process for each VM ends
    /// that process.
    /// </summary>
    public TimeSpan TerminationDeadline { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long the server may take to save or to restore the VM's sessions: 0.1 to 600 seconds. Default 30 seconds.
    /// Then the connection is closed, and the attempt fails.
    /// </summary>
    public TimeSpan StateDeadline { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long the state of the VM's sessions may be that the server sends, in bytes: 64 KiB to 1 GiB. Default 16 MiB.
    /// </summary>
    public int MaximumState { get; init; } = 16 << 20;

    internal void Validate()
    {
        const string Options = nameof(RemoteTeeOptions);
        SocketPaths.Check(SocketPath, $"{Options}.{nameof(SocketPath)}");
        Timeouts.Check(this, HandshakeTimeout);
        Timeouts.Check(this, SendTimeout);
        Timeouts.Check(this, TerminationDeadline);
        Timeouts.Check(this, StateDeadline);
        OptionRange.Check(this, MaximumState, 64 << 10, 1 << 30);
    }
}
