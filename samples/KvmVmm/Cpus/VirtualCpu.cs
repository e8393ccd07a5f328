using KvmVmm.Devices;
using KvmVmm.Machine;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Memory;

namespace KvmVmm.Cpus;

/// <summary>A vCPU and the thread that runs it.</summary>
internal sealed class VirtualCpu : IDisposable
{
    private readonly KvmVcpu _vcpu;
    private readonly MmioBus _bus;
    private readonly TeeWiring _tee;
    private TaskCompletionSource<MachineEnd> _machineEnd = new();
    private Thread? _thread;
    private volatile bool _isStopping;

    /// <summary>Makes a vCPU.</summary>
    /// <param name="vcpu">KVM's part of it, initialised.</param>
    /// <param name="bus">The machine's devices.</param>
    /// <param name="tee">The machine's TEE.</param>
    public VirtualCpu(KvmVcpu vcpu, MmioBus bus, TeeWiring tee)
    {
        _vcpu = vcpu;
        _bus = bus;
        _tee = tee;
    }

    /// <summary>KVM's part of it.</summary>
    public KvmVcpu Vcpu => _vcpu;

    /// <summary>What its calls of the TEE have cost. To be read when it has stopped.</summary>
    public CallCosts Costs { get; } = new();

    /// <summary>The affinity of a vCPU (MPIDR_EL1), which KVM makes of its number: four bits, then bytes.</summary>
    /// <param name="index">The vCPU's number.</param>
    /// <returns>Aff2.Aff1.Aff0.</returns>
    public static uint AffinityOf(int index) =>
        ((uint)index & 0xf) | ((uint)index >> 4 & 0xff) << 8 | ((uint)index >> 12 & 0xff) << 16;

    /// <summary>Makes the vCPU that starts the kernel, as the Linux boot protocol for arm64 wants it.</summary>
    /// <param name="vcpu">KVM's part of it.</param>
    /// <param name="entry">The kernel's first instruction.</param>
    /// <param name="deviceTree">Where the device tree lies.</param>
    public static void PrepareFirst(KvmVcpu vcpu, GuestAddress entry, GuestAddress deviceTree)
    {
        vcpu.Initialize(Arm64VcpuFeatures.Psci);
        vcpu.SetRegister(Arm64Register.Pc, entry.Value);
        vcpu.SetRegister(Arm64Register.X(0), deviceTree.Value);
    }

    /// <summary>Makes a vCPU that the kernel will start (PSCI CPU_ON).</summary>
    /// <param name="vcpu">KVM's part of it.</param>
    public static void PrepareOther(KvmVcpu vcpu) =>
        vcpu.Initialize(Arm64VcpuFeatures.Psci | Arm64VcpuFeatures.PowerOff);

    /// <summary>Lets it run, for the first time or after it has stopped.</summary>
    /// <param name="machineEnd">Is told when the guest ends the machine, or when it cannot go on.</param>
    public void Start(TaskCompletionSource<MachineEnd> machineEnd)
    {
        _machineEnd = machineEnd;
        _isStopping = false;
        _thread = new Thread(Run) { Name = $"vCPU {_vcpu.Id}", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Asks it to stop; <see cref="Join"/> waits for it.</summary>
    public void Stop()
    {
        _isStopping = true;
        _vcpu.Kick();
    }

    /// <summary>Waits until it has stopped.</summary>
    public void Join() => _thread?.Join();

    /// <inheritdoc/>
    public void Dispose() => _vcpu.Dispose();

    private void Run()
    {
        try
        {
            while (!_isStopping)
            {
                if (RunOnce() is { } end)
                {
                    _ = _machineEnd.TrySetResult(end);
                    return;
                }
            }

            // Otherwise a register that the guest reads from a device would be saved with its old value.
            _vcpu.CompleteExit();
        }
        catch (Exception failure)
        {
            _ = _machineEnd.TrySetException(failure);
        }
    }

    /// <summary>Runs the guest until it needs the VMM, and does what it needs.</summary>
    /// <returns>How the machine ends, or <see langword="null"/> if it goes on.</returns>
    private MachineEnd? RunOnce()
    {
        switch (_vcpu.Run())
        {
            case KvmExitReason.Interrupted:
                return null;

            case KvmExitReason.Mmio:
                _bus.Handle(_vcpu.Mmio);
                return null;

            case KvmExitReason.Hypercall:
                Costs.Add(_tee.Handle(_vcpu));
                return null;

            case KvmExitReason.SystemEvent:
                return EndFor(_vcpu.SystemEvent.Type);

            default:
                throw new GuestStoppedException(
                    $"vCPU {_vcpu.Id} cannot go on at PC 0x{_vcpu.GetRegister(Arm64Register.Pc):x}: {Describe()}.");
        }
    }

    private static MachineEnd EndFor(KvmSystemEventType type) => type switch
    {
        KvmSystemEventType.Shutdown => MachineEnd.PoweredOff,
        KvmSystemEventType.Reset => MachineEnd.Reset,
        KvmSystemEventType.Crash => MachineEnd.Crashed,
        _ => throw new GuestStoppedException(
            $"KVM reports the system event {type}, which this VMM has not switched on."),
    };

    private string Describe() => _vcpu.ExitReason switch
    {
        KvmExitReason.FailEntry =>
            $"the hardware refuses to enter the guest, reason 0x{_vcpu.FailEntry.HardwareReason:x}",
        KvmExitReason.InternalError => $"KVM reports an internal error, suberror {_vcpu.InternalError.Suberror}",
        KvmExitReason.ArmNoSyndrome =>
            $"an instruction that cannot be emulated reaches for {_vcpu.NoSyndrome.Address}, where there is no memory",
        KvmExitReason other => $"exit {other}, which this VMM does not know",
    };
}
