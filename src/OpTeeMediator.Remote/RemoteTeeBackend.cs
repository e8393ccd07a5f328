using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Remote.Client;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote;

/// <summary>A TEE in another process: the client of a <see cref="TeeServer"/>.</summary>
/// <remarks>
/// <para>Each VM gets a connection of its own. Its memory is not copied: the server maps the files behind it
/// (<c>MemfdGuestMemory</c>, or <c>MappedGuestMemory</c> with the memfd of each region), which must be sealed against
/// shrinking. Operations block as long as the TEE takes and run on the mediator's worker threads.</para>
/// <para>If the server ends in the middle of calls, they return TEE_ERROR_TARGET_DEAD, or TEE_ERROR_COMMUNICATION for
/// the opening of a session; sessions that were open answer TEE_ERROR_TARGET_DEAD. The next session is opened with a
/// server that listens at the same path by then; the VM need not be restarted.</para>
/// <para>Immutable, hence thread-safe.</para>
/// </remarks>
public sealed class RemoteTeeBackend : ITeeBackend
{
    private readonly RemoteTeeOptions _options;

    /// <summary>Creates the client of a server.</summary>
    /// <param name="path">The path of the server's Unix socket, at most 107 bytes.</param>
    /// <exception cref="ArgumentException"><paramref name="path"/> is empty or too long.</exception>
    public RemoteTeeBackend(string path)
        : this(new RemoteTeeOptions { SocketPath = path })
    {
    }

    /// <summary>Creates the client of a server.</summary>
    /// <param name="options">Where it is, and how long it may take.</param>
    /// <exception cref="ArgumentNullException"><paramref name="options"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is wrong.</exception>
    public RemoteTeeBackend(RemoteTeeOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _options = options;
    }

    /// <inheritdoc/>
    /// <remarks>Everything that the server allows: its options have the last word.</remarks>
    public TeeAccess DefaultAccess => TeeAccess.All;

    /// <inheritdoc/>
    /// <exception cref="ArgumentNullException"><paramref name="virtualMachine"/> is <see langword="null"/>.</exception>
    /// <exception cref="TeeUnavailableException">
    /// The VM's memory has no file behind it; or there is no server, or it refuses the VM. The message says what to do.
    /// </exception>
    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine)
    {
        ArgumentNullException.ThrowIfNull(virtualMachine);
        if (virtualMachine.MappingGranule == 0)
        {
            throw new TeeUnavailableException(
                $"The memory of VM {virtualMachine.Name} has no file behind it, so that a TEE in another process "
                + "cannot reach it: use MemfdGuestMemory, or MappedGuestMemory with the memfd of each region.");
        }

        if (virtualMachine.Access.Applications is { Count: > FrameFormat.Applications } applications)
        {
            throw new TeeUnavailableException(
                $"VM {virtualMachine.Name} may reach {applications.Count} applications, and a server can be told of "
                + $"{FrameFormat.Applications}: list fewer, or allow all.");
        }

        ServerAddress address = new(
            _options.SocketPath,
            _options.HandshakeTimeout,
            _options.SendTimeout,
            _options.TerminationDeadline,
            _options.StateDeadline,
            _options.MaximumState);
        Hello hello = new(
            virtualMachine.ConcurrentCalls,
            virtualMachine.Identity,
            virtualMachine.Name,
            virtualMachine.Access.Applications);
        return new RemotePartition(
            address, hello, NonThrowingLogger.CreateForVm<RemoteTeeBackend>(virtualMachine.LoggerFactory));
    }
}
