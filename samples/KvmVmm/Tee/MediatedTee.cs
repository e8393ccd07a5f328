using KvmVmm.CommandLine;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Vmm;

namespace KvmVmm.Tee;

/// <summary>A TEE by way of the mediator: the host's, or one in this process.</summary>
internal sealed class MediatedTee : IGuestTee
{
    private readonly ITeeBackend _tee;
    private readonly OpTeeGuest _optee;

    /// <summary>Gives the guest its TEE.</summary>
    /// <param name="options">Say which.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="notifications">The interrupt by which it notifies the guest.</param>
    /// <param name="loggers">Where to log.</param>
    public MediatedTee(VmmOptions options, IGuestMemory memory, IInterruptLine? notifications, ILoggerFactory loggers)
    {
        _tee = CreateTee(options);
        _optee = new OpTeeGuest(
            memory,
            _tee,
            new OpTeeGuestOptions
            {
                Access = options.Access, NotificationInterrupt = notifications, LoggerFactory = loggers,
            });
    }

    /// <inheritdoc/>
    public ISmcHandler Handler => _optee;

    /// <inheritdoc/>
    public OpTeeDeviceTreeNode DeviceTreeNode => _optee.DeviceTreeNode;

    /// <inheritdoc/>
    public IReadOnlyList<GuestRange> ReservedMemory => [];

    /// <inheritdoc/>
    public string Report => "";

    /// <inheritdoc/>
    public Task ResetAsync() => _optee.ResetAsync();

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _optee.DisposeAsync();
        (_tee as IDisposable)?.Dispose();
    }

    private static ITeeBackend CreateTee(VmmOptions options) => options.Tee switch
    {
        TeeKind.Software => new SoftwareTeeBackend(new SoftwareTeeOptions()
            .Add(new TrustedApplicationManifest(SumApplication.Uuid), () => new SumApplication())
            .Add(new TrustedApplicationManifest(GuestApplication.Uuid), () => new GuestApplication())),
        _ => new LinuxTeeBackend(
            options.TeeDevice is null ? new LinuxTeeOptions() : new LinuxTeeOptions { DevicePath = options.TeeDevice }),
    };
}
