using KvmVmm.CommandLine;
using KvmVmm.DeviceTree;
using KvmVmm.Machine;
using KvmVmm.Tee;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Linux.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;

namespace KvmVmm;

/// <summary>Everything in this VMM that concerns OP-TEE.</summary>
internal sealed class TeeWiring : IAsyncDisposable
{
    private readonly KvmInterruptLine? _notifications;
    private readonly IGuestTee _tee;
    private readonly SmcRouter _smc;

    public TeeWiring(VmmOptions options, KvmSystem kvm, MemfdGuestMemory memory, ILoggerFactory loggers)
    {
        _notifications = options.HasNotifications
            ? new KvmInterruptLine(MemoryMap.TeeInterrupt - MemoryMap.FirstSharedInterrupt)
            : null;
        _tee = options.Tee == TeeKind.Companion
            ? new CompanionTee(options, kvm, memory, _notifications, loggers)
            : new MediatedTee(options, memory, _notifications, loggers);
        _smc = new SmcRouter(_tee.Handler);
    }

    // Where neither kernel nor initramfs may lie.
    public IReadOnlyList<GuestRange> ReservedMemory => _tee.ReservedMemory;

    // Its statistics, for the message at the end.
    public string Report => _tee.Report;

    // When a VM is created: its calls of OP-TEE are forwarded to the VMM, and our interrupt is connected to it.
    public void Attach(KvmVm vm)
    {
        KvmSmccc.ForwardToUser(vm.Handle, _smc);
        _notifications?.Connect(vm.Handle);
    }

    // In the root of the device tree.
    public void DescribeIn(DeviceTreeWriter tree)
    {
        tree.WriteOpTee(_tee.DeviceTreeNode);
        tree.WriteReservedMemory(ReservedMemory);
    }

    // In each vCPU's thread, at KVM_EXIT_HYPERCALL.
    public SmcccCallReport Handle(KvmVcpu vcpu) =>
        KvmSmccc.Handle(vcpu.Handle, vcpu.RunAddress, _smc, SmcccConduit.Smc);

    // When the guest reboots, while no vCPU runs.
    public Task ResetAsync() => _tee.ResetAsync();

    // When the VM is destroyed.
    public ValueTask DisposeAsync() => _tee.DisposeAsync();
}
