using System.Collections.Immutable;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Companion;

/// <summary>A VM one of whose calls throws, or a call of one of its cores.</summary>
internal sealed class FailingVm(ICompanionVm vm, FailurePoint point) : ICompanionVm
{
    private readonly ImmutableArray<ICompanionCpu> _cpus = [.. vm.Cpus.Select(cpu => new FailingCpu(cpu, point))];

    public ImmutableArray<ICompanionCpu> Cpus
    {
        get
        {
            point.Pass();
            return _cpus;
        }
    }

    public IInterruptLine? Line
    {
        get => vm.Line;

        set
        {
            point.Pass();
            vm.Line = value;
        }
    }

    public TrackedGuestMemory Memory
    {
        get
        {
            point.Pass();
            return vm.Memory;
        }
    }

    public ulong FrequencyCode
    {
        get
        {
            point.Pass();
            return vm.FrequencyCode;
        }
    }

    public void LoadImage()
    {
        point.Pass();
        vm.LoadImage();
    }

    public void SaveCores(Stream target)
    {
        point.Pass();
        vm.SaveCores(target);
    }

    public void RestoreCores(Stream source)
    {
        point.Pass();
        vm.RestoreCores(source);
    }

    public void Access(int core, KvmMmioExit access)
    {
        point.Pass();
        vm.Access(core, access);
    }

    public byte[] ReadDeviceTree()
    {
        point.Pass();
        return vm.ReadDeviceTree();
    }

    public void Dispose()
    {
        vm.Dispose();
        point.Pass();
    }

    private sealed class FailingCpu(ICompanionCpu cpu, FailurePoint point) : ICompanionCpu
    {
        public KvmMmioExit Mmio
        {
            get
            {
                point.Pass();
                return cpu.Mmio;
            }
        }

        public KvmHypercallExit Hypercall
        {
            get
            {
                point.Pass();
                return cpu.Hypercall;
            }
        }

        public ulong Get(Arm64Register register)
        {
            point.Pass();
            return cpu.Get(register);
        }

        public void Set(Arm64Register register, ulong value)
        {
            point.Pass();
            cpu.Set(register, value);
        }

        public KvmExitReason Run()
        {
            point.Pass();
            return cpu.Run();
        }

        public void Kick()
        {
            point.Pass();
            cpu.Kick();
        }
    }
}
