using KvmVmm.Cpus;
using KvmVmm.Devices;
using KvmVmm.Devices.Virtio;
using KvmVmm.HostConsole;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.State;
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
    // The sections of its state.
    private const string KvmSection = "KVM.";
    private const string DeviceSection = "DEVS";

    private readonly TrackedGuestMemory _memory;
    private readonly KvmVm _vm;
    private readonly SbsaUart _uart;
    private readonly InterruptLine? _diskInterrupt;
    private readonly VirtioMmio? _disk;
    private readonly Arm64Gic _gic;
    private readonly List<VirtualCpu> _cpus = [];

    // While it is halted: its guest's time goes on from there.
    private Arm64Counters? _halted;

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
        TrackedGuestMemory memory,
        BootImages images,
        int cpuCount,
        GuestConsole console,
        DiskFile? disk,
        TeeWiring tee,
        ILogger log)
    {
        _memory = memory;
        _vm = kvm.CreateVmFor(memory.Inner.Regions.Max(region => region.Range.End.Value) - 1);
        _vm.MapMemory(memory.Inner);
        memory.AddVm(_vm);
        tee.Attach(_vm);
        _uart = new SbsaUart(MemoryMap.Uart, console, new InterruptLine(_vm, MemoryMap.UartInterrupt));
        List<IMmioDevice> devices = [_uart];
        if (disk is not null)
        {
            _diskInterrupt = new(_vm, MemoryMap.DiskInterrupt);
            _disk = new VirtioMmio(MemoryMap.Disk, new VirtioDisk(disk, memory), memory, _diskInterrupt.Set);
            devices.Add(_disk);
        }

        MmioBus bus = new(log, [.. devices]);
        for (int index = 0; index < cpuCount; index++)
        {
            KvmVcpu vcpu = _vm.CreateVcpu(index);
            _cpus.Add(new VirtualCpu(vcpu, bus, tee));
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
    /// <param name="halt">Halts it: it may run again.</param>
    /// <returns>How it has ended.</returns>
    /// <exception cref="GuestStoppedException">The guest has done something that this VMM does not support.</exception>
    /// <exception cref="SystemCallException">KVM has failed.</exception>
    public async Task<MachineEnd> RunAsync(CallCosts costs, CancellationToken stop, CancellationToken halt)
    {
        TaskCompletionSource<MachineEnd> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using CancellationTokenRegistration stopping = stop.Register(() => end.TrySetResult(MachineEnd.Stopped));
        await using CancellationTokenRegistration halting = halt.Register(() => end.TrySetResult(MachineEnd.Halted));
        _halted?.Set(_cpus[0].Vcpu);
        _halted = null;
        _disk?.Continue();
        _cpus.ForEach(cpu => cpu.Start(end));
        try
        {
            _ = await end.Task;
        }
        finally
        {
            _cpus.ForEach(cpu => cpu.Stop());
            _cpus.ForEach(cpu => cpu.Join());
            _disk?.Halt();
            _cpus.ForEach(cpu => costs.Add(cpu.Costs));
        }

        if (await end.Task == MachineEnd.Halted)
        {
            _halted = Arm64Counters.Read(_cpus[0].Vcpu);
        }

        return await end.Task;
    }

    /// <summary>Writes the state of a machine that has halted, but for memory and TEE.</summary>
    /// <param name="state">Where it is written.</param>
    public void Save(VmStateWriter state)
    {
        using (Stream section = state.BeginSection(KvmSection))
        {
            Arm64VmState.Save(section, _gic, _halted!.Value, [.. _cpus.Select(cpu => cpu.Vcpu)]);
        }

        using (Stream section = state.BeginSection(DeviceSection))
        using (BinaryWriter writer = new(section))
        {
            _uart.Save(writer);
            _disk?.Save(writer);
        }
    }

    /// <summary>Goes on where another one was saved. Before it runs.</summary>
    /// <param name="state">What <see cref="Save"/> has written.</param>
    /// <exception cref="InvalidDataException">The state makes no sense here; dispose of the machine.</exception>
    public void Restore(VmStateReader state)
    {
        _halted = Arm64VmState.Restore(state.OpenSection(KvmSection), _gic, [.. _cpus.Select(cpu => cpu.Vcpu)]);
        using BinaryReader reader = new(state.OpenSection(DeviceSection));
        try
        {
            _uart.Restore(reader);
            _disk?.Restore(reader);
            _diskInterrupt?.Restore(_disk!.IsInterrupting);
        }
        catch (EndOfStreamException)
        {
            throw new InvalidDataException("The saved state of the devices ends too early.");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _uart.Dispose();
        _disk?.Dispose();
        _cpus.ForEach(cpu => cpu.Dispose());
        _gic.Dispose();
        _memory.RemoveVm(_vm);
        _vm.Dispose();
    }
}
