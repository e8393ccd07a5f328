using KvmVmm.CommandLine;
using KvmVmm.DeviceTree;
using KvmVmm.Machine;
using KvmVmm.Tee;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux;
using OpTeeMediator.Linux.Kvm;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Software;

namespace KvmVmm;

/// <summary>All that makes a VMM one whose guest has an OP-TEE.</summary>
internal sealed class TeeWiring : IAsyncDisposable
{
    private readonly ITeeBackend _tee;
    private readonly KvmInterruptLine? _notifications;
    private readonly OpTeeGuest _optee;
    private readonly SmcRouter _smc;

    public TeeWiring(VmmOptions options, IGuestMemory memory, ILoggerFactory loggers)
    {
        _tee = CreateTee(options);
        _notifications = options.HasNotifications ? new KvmInterruptLine(MemoryMap.TeeInterrupt - MemoryMap.FirstSharedInterrupt) : null;
        _optee = new OpTeeGuest(memory, _tee, new OpTeeGuestOptions { Access = options.Access, NotificationInterrupt = _notifications, LoggerFactory = loggers });
        _smc = new SmcRouter(_optee);
    }

    // When a VM is made: its calls of OP-TEE come to us, and our interrupt goes to it.
    public void Attach(KvmVm vm)
    {
        KvmSmccc.ForwardToUser(vm, _smc);
        _notifications?.Connect(vm);
    }

    // In the root of the device tree: without this node no guest looks for a TEE.
    public void DescribeIn(DeviceTreeWriter tree)
    {
        const uint SharedInterrupt = 0;
        const uint RisingEdge = 1;
        using (tree.Node(OpTeeDeviceTreeNode.ParentName))
        using (tree.Node(OpTeeDeviceTreeNode.Name))
        {
            tree.Text("compatible", OpTeeDeviceTreeNode.Compatible);
            tree.Text("method", OpTeeDeviceTreeNode.Method);
            if (_optee.DeviceTreeNode.Spi is int spi)
            {
                tree.Cells("interrupts", SharedInterrupt, (uint)spi, RisingEdge);
            }
        }
    }

    // In each vCPU's thread, at KVM_EXIT_HYPERCALL.
    public SmcccCallReport Handle(KvmVcpu vcpu) => KvmSmccc.Handle(vcpu, _smc);

    // When the guest reboots, while no vCPU runs.
    public Task ResetAsync() => _optee.ResetAsync();

    // When the VM is gone.
    public async ValueTask DisposeAsync()
    {
        await _optee.DisposeAsync();
        (_tee as IDisposable)?.Dispose();
    }

    private static ITeeBackend CreateTee(VmmOptions options) => options.Tee switch
    {
        TeeKind.Software => new SoftwareTee(new SoftwareTeeOptions()
            .Add(new TrustedApplicationManifest(SumApplication.Uuid), () => new SumApplication())
            .Add(new TrustedApplicationManifest(GuestApplication.Uuid), () => new GuestApplication())),
        _ => new LinuxTeeBackend(options.TeeDevice is null ? new LinuxTeeOptions() : new LinuxTeeOptions { DevicePath = options.TeeDevice }),
    };
}
