using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Remote;

/// <summary>How a <see cref="TeeServer"/> serves. Either path or socket is set; all else has a default.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record TeeServerOptions
{
    /// <summary>
    /// Where the server makes its Unix socket, at most 107 bytes. A socket that an ended server has left there is
    /// replaced.
    /// </summary>
    public string? SocketPath { get; init; }

    /// <summary>
    /// A Unix socket that listens already, such as systemd's (socket activation); the server owns it.
    /// <see langword="null"/>, the default, for one at <see cref="SocketPath"/>.
    /// </summary>
    public Socket? ListeningSocket { get; init; }

    /// <summary>
    /// The user ids whose processes may connect (SO_PEERCRED). Default <see langword="null"/>: the server's own user
    /// only. The socket is made accessible to others only if the list has others.
    /// </summary>
    public IReadOnlyCollection<uint>? AllowedUsers { get; init; }

    /// <summary>
    /// What every VM may reach at most; its VMM may allow it less. Default <see langword="null"/>: the TEE's
    /// <see cref="ITeeBackend.DefaultAccess"/>.
    /// </summary>
    public TeeAccess? Access { get; init; }

    /// <summary>How many VMs are served at a time: 1 to 65535. Default 64.</summary>
    public int MaximumVirtualMachines { get; init; } = 64;

    /// <summary>How many calls at a time a VM may ask for, each of which is a thread: 1 to 64. Default 16.</summary>
    public int MaximumCalls { get; init; } = 16;

    /// <summary>How many sessions a VM may have open: 1 to 65535. Default 256.</summary>
    public int MaximumSessions { get; init; } = 256;

    /// <summary>How many buffers a VM may have registered: 1 to 65536. Default 4096.</summary>
    public int MaximumBuffers { get; init; } = 4096;

    /// <summary>
    /// Of how many pieces that are contiguous in a file all registered buffers of a VM may consist, and each one that
    /// is not registered: 256 to 1048576. Default 65536.
    /// </summary>
    /// <remarks>A piece costs some 40 bytes. A buffer of scattered pages has one for each page.</remarks>
    public int MaximumPieces { get; init; } = 65536;

    /// <summary>
    /// How long the state of a VM's sessions may be that is saved or restored, in bytes: 64 KiB to 1 GiB. Default
    /// 16 MiB.
    /// </summary>
    /// <remarks>The process holds it up to three times meanwhile. With what applications save in it, the VMM gets it as
    /// it is.</remarks>
    public int MaximumState { get; init; } = 16 << 20;

    /// <summary>
    /// A process for each VM, which alone suffers from applications that loop, exhaust memory or overflow the stack.
    /// Default <see langword="null"/>: all VMs are served by this process.
    /// </summary>
    public TeeWorkerOptions? Workers { get; init; }

    /// <summary>How long a VMM may take to say which VM it has: 0.1 to 600 seconds. Default 10 seconds.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a VMM may leave frames unread before it counts as gone: 0.1 to 600 seconds. Default 10 seconds.
    /// </summary>
    public TimeSpan SendTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Where the server and the TEE log. Default: nowhere.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    internal void Validate()
    {
        const string Options = nameof(TeeServerOptions);
        if (ListeningSocket is null)
        {
            SocketPaths.Check(SocketPath ?? "", $"{Options}.{nameof(SocketPath)}");
        }
        else if (SocketPath is not null)
        {
            throw new ArgumentException(
                $"{Options}.{nameof(SocketPath)} and {Options}.{nameof(ListeningSocket)} are both set; set one.",
                nameof(SocketPath));
        }

        ArgumentNullException.ThrowIfNull(LoggerFactory);
        Workers?.Validate();
        OptionRange.Check(this, MaximumVirtualMachines, 1, 65535);
        OptionRange.Check(this, MaximumCalls, 1, 64);
        OptionRange.Check(this, MaximumSessions, 1, 65535);
        OptionRange.Check(this, MaximumBuffers, 1, 65536);
        OptionRange.Check(this, MaximumPieces, 256, 1 << 20);
        OptionRange.Check(this, MaximumState, 64 << 10, 1 << 30);
        Timeouts.Check(this, HandshakeTimeout);
        Timeouts.Check(this, SendTimeout);
    }
}
