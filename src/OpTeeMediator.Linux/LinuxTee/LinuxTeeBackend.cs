using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>The host's own OP-TEE behind <c>/dev/tee0</c>: the VMM is a client of it like any other process.</summary>
/// <remarks>
/// <para>Each VM gets an open file of its own. The driver and OP-TEE keep the sessions and the shared memory of
/// different files apart, and nothing more: trusted applications key their storage by application, not by client, and a
/// single-instance application is the same for all. So a VM reaches what its VMM lists.</para>
/// <para>Buffers of the guest are shared without a copy where its memory is mapped or is backed by files
/// (<see cref="Memory.MappedGuestMemory"/>), and are copied for each call otherwise. Calls block as long as the TEE
/// takes and run on the mediator's worker threads.</para>
/// <para>Thread-safe. Partitions remain usable when the backend is disposed of.</para>
/// </remarks>
public sealed class LinuxTeeBackend : ITeeBackend, IDisposable
{
    private readonly LinuxTeeOptions _options;
    private readonly Func<string, ITeeDevice> _open;
    private readonly Action<Thread> _startThread;
    private readonly int _pageSize;
    private volatile bool _isDisposed;

    /// <summary>Creates a backend on <c>/dev/tee0</c>. The device is opened when a VM is created.</summary>
    public LinuxTeeBackend() : this(new LinuxTeeOptions())
    {
    }

    /// <summary>Creates a backend. The device is opened when a VM is created.</summary>
    /// <param name="options">Which device, and what a VM may use of it.</param>
    /// <exception cref="ArgumentNullException"><paramref name="options"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public LinuxTeeBackend(LinuxTeeOptions options) : this(options, TeeDeviceFile.Open)
    {
    }

    internal LinuxTeeBackend(LinuxTeeOptions options, Func<string, ITeeDevice> open)
        : this(options, open, thread => thread.Start(), Environment.SystemPageSize)
    {
    }

    internal LinuxTeeBackend(
        LinuxTeeOptions options, Func<string, ITeeDevice> open, Action<Thread> startThread, int pageSize)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _options = options;
        _open = open;
        _startThread = startThread;
        _pageSize = pageSize;
    }

    /// <summary>Nothing: the TEE is shared with others, so the VMM lists what a VM may reach.</summary>
    public TeeAccess DefaultAccess => TeeAccess.None;

    /// <inheritdoc/>
    /// <exception cref="ArgumentNullException"><paramref name="virtualMachine"/> is <see langword="null"/>.</exception>
    /// <exception cref="ObjectDisposedException">The backend is disposed of.</exception>
    /// <exception cref="TeeUnavailableException">There is no such device, it may not be used, it is not OP-TEE's, or
    /// that OP-TEE lacks something; the message says what to do.</exception>
    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine)
    {
        ArgumentNullException.ThrowIfNull(virtualMachine);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ITeeDevice device = _open(_options.DevicePath);
        try
        {
            _ = TeeSupport.Check(device, _options.DevicePath);
            PinBudget budget = new(_options.MaximumSharedBytes, _options.MaximumRegistrations, _pageSize);
            return new LinuxTeePartition(device, virtualMachine, _options.Login, budget, _startThread);
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <summary>Ends the creation of partitions. Those that exist are disposed of by their mediators.</summary>
    public void Dispose() => _isDisposed = true;
}
