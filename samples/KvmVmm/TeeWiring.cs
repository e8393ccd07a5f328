using ExampleApplications;
using KvmVmm.CommandLine;
using KvmVmm.DeviceTree;
using KvmVmm.Machine;
using KvmVmm.Tee;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Guests;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Remote;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.Vmm;

namespace KvmVmm;

/// <summary>Everything in this VMM that concerns OP-TEE.</summary>
internal sealed class TeeWiring : IAsyncDisposable
{
    // Of a VM whose TEE has no other VM.
    private static readonly Guid OnlyVm = new("5a1c6c0e-92e5-4c0a-9d5e-3f0a4b7d2c11");

    private readonly KvmInterruptLine? _notifications;
    private readonly LinuxTeeBackend? _hostTee;
    private readonly TeeStorage? _storage;
    private readonly OpTeeTrace? _trace;
    private readonly MetricsReport? _metrics;
    private readonly IGuestOpTee _optee;
    private readonly SmcRouter _smc;
    private readonly bool _dropsSessions;

    /// <summary>Wires a TEE up.</summary>
    /// <param name="options">Which one.</param>
    /// <param name="kvm">The host's KVM.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="notifications">The interrupt by which it notifies the guest.</param>
    /// <param name="loggers">Where to log.</param>
    /// <param name="state">The state of one that was saved, which is then paused; <see langword="null"/> for a new
    /// one.</param>
    /// <param name="arrival">Has received the memory of a companion that was moved while it ran.</param>
    public TeeWiring(
        VmmOptions options, KvmSystem kvm, TrackedGuestMemory memory, KvmInterruptLine? notifications,
        ILoggerFactory loggers, Stream? state, OpTeeCompanionArrival? arrival)
    {
        _notifications = notifications;
        _storage = options.Storage is null ? null : OpenStorage(options.Storage, options.StorageKey);
        _trace = options.Trace is null ? null : CreateTrace(options.Trace);
        _metrics = options.PrintsMetrics ? new MetricsReport() : null;
        OpTeeGuestOptions mediated = new()
        {
            Access = options.Access,
            Identity = options.VmId ?? (options.Tee.Kind == TeeKind.Software ? OnlyVm : Guid.Empty),
            NotificationInterrupt = _notifications,
            LoggerFactory = loggers,
            Trace = _trace,
        };
        _hostTee = options.Tee.Kind == TeeKind.Linux ? OpenHostTee(options.Tee.Place) : null;
        _optee = options.Tee.Kind switch
        {
            TeeKind.Software => MediatedTee.Start(memory, CreateSoftwareTee(_storage), mediated, state),
            TeeKind.Remote =>
                MediatedTee.Start(memory, new RemoteTeeBackend(options.Tee.Place!), mediated, state),
            TeeKind.Companion when arrival is not null => CompanionTee.Continue(arrival, state!),
            TeeKind.Companion =>
                CompanionTee.Start(kvm, memory, CompanionTee.Options(options, notifications, loggers), state),
            _ => MediatedTee.Start(memory, _hostTee!, mediated, state),
        };
        _smc = new SmcRouter(_optee);
        _dropsSessions = options.DropsSessions;
    }

    /// <summary>Creates the interrupt by which a TEE notifies the guest.</summary>
    /// <param name="options">Say whether there is one.</param>
    public static KvmInterruptLine? CreateNotifications(VmmOptions options) => options.HasNotifications
        ? new KvmInterruptLine(MemoryMap.TeeInterrupt - MemoryMap.FirstSharedInterrupt)
        : null;

    // Where neither kernel nor initramfs may lie.
    public IReadOnlyList<GuestRange> ReservedMemory => _optee.ReservedMemory;

    // For the message at the end.
    public string Report => _optee is OpTeeCompanion companion ? CompanionTee.Report(companion.CompanionStatus) : "";

    // When a VM is created: its calls of OP-TEE are forwarded to the VMM, and our interrupt is connected to it.
    public void Attach(KvmVm vm)
    {
        KvmSmccc.ForwardToUser(vm.Handle, _smc);
        _notifications?.Connect(vm.Handle);
    }

    // In the root of the device tree.
    public void DescribeIn(DeviceTreeWriter tree)
    {
        tree.WriteOpTee(_optee.DeviceTreeNode);
        tree.WriteReservedMemory(ReservedMemory);
    }

    // In each vCPU's thread, at KVM_EXIT_HYPERCALL.
    public SmcccCallReport Handle(KvmVcpu vcpu) =>
        KvmSmccc.Handle(vcpu.Handle, vcpu.RunAddress, _smc, SmcccConduit.Smc);

    // Before the VM is saved, while its vCPUs run. A companion needs none: its calls are saved as they are.
    public Task<bool> DrainAsync(TimeSpan deadline, CancellationToken withdraw) =>
        _optee is OpTeeGuest guest ? guest.DrainAsync(deadline, withdraw) : Task.FromResult(true);

    // When no vCPU runs any more.
    public Task<bool> PauseAsync() => _optee.PauseAsync();

    public void Resume() => _optee.Resume();

    // When the VM was saved or moved, and goes on elsewhere for certain: gives everything of it back, but its
    // applications are not told of an end. A companion is one VM of KVM, which ends with this object.
    public Task AbandonAsync() => _optee is OpTeeGuest guest ? guest.AbandonAsync() : Task.CompletedTask;

    // Before the VM is moved, while it runs. Null: all that the TEE has is in its state.
    public OpTeeCompanionCopy? StartCopy() =>
        _optee is OpTeeCompanion companion ? companion.StartCopy(CompanionTee.StateOptions) : null;

    // Of its own memory, while the VM is paused. For --check-pages.
    public byte[] Digest() => _optee is OpTeeCompanion companion ? CompanionTee.Digest(companion) : [];

    // While the VM is paused.
    public Task SaveAsync(Stream target, OpTeeCompanionCopy? copy = null) => _optee switch
    {
        OpTeeCompanion companion when copy is not null =>
            companion.SaveAsync(target, CompanionTee.StateOptions, copy),
        OpTeeCompanion companion => companion.SaveAsync(target, CompanionTee.StateOptions),
        OpTeeGuest guest => MediatedTee.SaveAsync(guest, target, _dropsSessions),
        _ => throw new NotSupportedException("This TEE cannot be saved."),
    };

    // When the guest reboots, while no vCPU runs.
    public Task ResetAsync() => _optee.ResetAsync();

    // When the VM is destroyed.
    public async ValueTask DisposeAsync()
    {
        await _optee.DisposeAsync();
        _hostTee?.Dispose();
        _storage?.Dispose();
        _metrics?.Dispose();
        _trace?.Dispose();
        if (_trace?.Failure is { } failure)
        {
            Console.Error.WriteLine($"kvmvmm: the trace is not complete: {failure.Message}");
        }
    }

    private static OpTeeTrace CreateTrace(string path)
    {
        try
        {
            return new OpTeeTrace(File.Create(path));
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BootException($"The trace cannot be written: {failure.Message}");
        }
    }

    private static LinuxTeeBackend OpenHostTee(string? device) =>
        new(device is null ? new LinuxTeeOptions() : new LinuxTeeOptions { DevicePath = device });

    private static TeeStorage OpenStorage(string database, string? key)
    {
        try
        {
            return TeeStorage.Open(database, key);
        }
        catch (TeeStoreException failure)
        {
            throw new BootException(failure.Message);
        }
    }

    private static SoftwareTeeBackend CreateSoftwareTee(TeeStorage? storage) => new(
        (storage?.Options ?? new SoftwareTeeOptions())
        .Add(new TrustedApplicationManifest(SumApplication.Uuid), () => new SumApplication())
        .Add(new TrustedApplicationManifest(GuestApplication.Uuid), () => new GuestApplication())
        .Add(StorageBenchmarkApplication.Manifest, () => new StorageBenchmarkApplication())
        .AddExampleApplications());
}
