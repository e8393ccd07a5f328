using KvmVmm.Cpus;
using KvmVmm.Devices;
using KvmVmm.Devices.Virtio;
using KvmVmm.HostConsole;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;

namespace KvmVmm.Machine;

/// <summary>The machine from power-on to power-off or reset.</summary>
/// <remarks>
/// A reset makes a new one around the same memory: KVM has no call that resets a VM, and what KVM_ARM_VCPU_INIT leaves
/// as it was (the whole interrupt controller) is thus fresh without a list of all its registers. It costs a few
/// milliseconds.
/// </remarks>
internal sealed class VirtualMachine : IDisposable
{
    private readonly KvmVm _vm;
    private readonly SbsaUart _uart;
    private readonly VirtioMmio? _disk;
    private readonly Arm64Gic _gic;
    private readonly List<VirtualCpu> _cpus = [];
    private readonly TaskCompletionSource<MachineEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Makes a machine whose memory is filled.</summary>
    /// <param name="kvm">The host's KVM.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="images">Where the kernel and its device tree lie.</param>
    /// <param name="cpuCount">The number of vCPUs.</param>
    /// <param name="console">What the serial port is connected to.</param>
    /// <param name="disk">Its disk, if it has one.</param>
    /// <param name="tee">The TEE.</param>
    /// <param name="log">Where to log.</param>
    public VirtualMachine(
        KvmSystem kvm,
        MemfdGuestMemory memory,
        BootImages images,
        int cpuCount,
        GuestConsole console,
        DiskFile? disk,
        TeeWiring tee,
        ILogger log)
    {
        _vm = kvm.CreateVmFor(memory.Regions.Max(region => region.Range.End.Value) - 1);
        _vm.MapMemory(memory);
        tee.Attach(_vm);
        _uart = new SbsaUart(MemoryMap.Uart, console, new InterruptLine(_vm, MemoryMap.UartInterrupt));
        List<IMmioDevice> devices = [_uart];
        if (disk is not null)
        {
            InterruptLine interrupt = new(_vm, MemoryMap.DiskInterrupt);
            _disk = new VirtioMmio(MemoryMap.Disk, new VirtioDisk(disk, memory), memory, interrupt.Set);
            devices.Add(_disk);
        }

        MmioBus bus = new(log, [.. devices]);
        for (int index = 0; index < cpuCount; index++)
        {
            KvmVcpu vcpu = _vm.CreateVcpu(index);
            _cpus.Add(new VirtualCpu(vcpu, bus, tee, _end));
            if (index == 0)
            {
                VirtualCpu.PrepareFirst(vcpu, images.Entry, images.DeviceTree);
            }
            else
            {
                VirtualCpu.PrepareOther(vcpu);
            }
        }

        _gic = Arm64Gic.Create(
            _vm,
            MemoryMap.GicDistributor.Start.Value,
            MemoryMap.GicRedistributors(cpuCount).Start.Value,
            MemoryMap.InterruptCount);
    }

    /// <summary>Runs the machine to its end; then no vCPU runs any more.</summary>
    /// <param name="costs">Receives what its calls of the TEE have cost.</param>
    /// <param name="stop">Ends it.</param>
    /// <returns>How it has ended.</returns>
    /// <exception cref="GuestStoppedException">The guest has done something that this VMM does not support.</exception>
    /// <exception cref="SystemCallException">KVM has failed.</exception>
    public async Task<MachineEnd> RunAsync(CallCosts costs, CancellationToken stop)
    {
        await using CancellationTokenRegistration registration =
            stop.Register(() => _end.TrySetResult(MachineEnd.Stopped));
        _cpus.ForEach(cpu => cpu.Start());
        try
        {
            return await _end.Task;
        }
        finally
        {
            _cpus.ForEach(cpu => cpu.Stop());
            _cpus.ForEach(cpu => cpu.Join());
            _cpus.ForEach(cpu => costs.Add(cpu.Costs));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _uart.Dispose();
        _disk?.Dispose();
        _cpus.ForEach(cpu => cpu.Dispose());
        _gic.Dispose();
        _vm.Dispose();
    }
}
