using System.Runtime.InteropServices;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.KvmChecks;

/// <summary>A VM with 1 MiB of RAM, two vCPUs and a GIC.</summary>
internal sealed class TestVm : IDisposable
{
    public const ulong Ram = 0x4000_0000;
    public const ulong RamSize = 1 << 20;
    public const int Interrupts = 96;

    private const ulong Distributor = 0x0800_0000;
    private const ulong Redistributors = 0x080a_0000;

    // EL1h with all interrupts masked.
    private const ulong Pstate = 0x3c5;

    private readonly KvmSystem _system = KvmSystem.Open();
    public TestVm()
    {
        Vm = _system.CreateVm();
        GuestRange ram = Memory.Regions[0].Range;
        Vm.SetMemoryRegion(
            0, ram.Start.Value, ram.Length, Memory.Regions[0].HostAddress, KvmMemoryFlags.LogDirtyPages);
        First = Vm.CreateVcpu(0);
        Second = Vm.CreateVcpu(1);
        First.Initialize(Arm64VcpuFeatures.Psci);
        Second.Initialize(Arm64VcpuFeatures.Psci | Arm64VcpuFeatures.PowerOff);
        Gic = Arm64Gic.Create(Vm, Distributor, Redistributors, Interrupts);
    }

    public MemfdGuestMemory Memory { get; } = MemfdGuestMemory.Create(new GuestRange(Ram, RamSize));

    public KvmVm Vm { get; }

    public KvmVcpu First { get; }

    public KvmVcpu Second { get; }

    public Arm64Gic Gic { get; }

    /// <summary>Has the first vCPU begin with some instructions, at the beginning of RAM.</summary>
    public void Load(params ReadOnlySpan<uint> code)
    {
        _ = Memory.TryWrite(Ram, MemoryMarshal.AsBytes(code));
        First.SetRegister(Arm64Register.Pc, Ram);
        First.SetRegister(Arm64Register.Pstate, Pstate);
    }

    public void Dispose()
    {
        Gic.Dispose();
        Second.Dispose();
        First.Dispose();
        Vm.Dispose();
        Memory.Dispose();
        _system.Dispose();
    }
}
