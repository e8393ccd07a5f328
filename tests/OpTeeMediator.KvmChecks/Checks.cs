extern alias litmus;

using System.Collections.Immutable;
using litmus::OpTeeMediator.Litmus;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Linux.Memory;

namespace OpTeeMediator.KvmChecks;

/// <summary>What OpTeeMediator.Kvm does with a real KVM.</summary>
internal static class Checks
{
    // str x1, [x0]; str x1, [x2]
    private const uint StoreAtX0 = 0xf900_0001;
    private const uint StoreAtX2 = 0xf900_0041;

    // smc #0
    private const uint Smc = 0xd400_0003;

    // Neither RAM nor a device: an exit.
    private const ulong Nothing = 0x1000_0000;
    private const ulong Doorbell = 0x1001_0000;

    /// <summary>The checks by name.</summary>
    public static ImmutableSortedDictionary<string, Action> All { get; } = new Dictionary<string, Action>
    {
        ["registers"] = CheckRegisters,
        ["mp-state"] = CheckMpState,
        ["dirty-log"] = CheckDirtyLog,
        ["interrupt-file"] = CheckInterruptFile,
        ["io-event-file"] = CheckIoEventFile,
        ["gic-state"] = CheckGicState,
        ["vm-state"] = CheckVmState,
        ["smccc-filter"] = CheckSmcccFilter,
        ["capability"] = CheckCapability,
        ["litmus"] = CheckLitmusTests,
    }.ToImmutableSortedDictionary(StringComparer.Ordinal);

    private static void CheckRegisters()
    {
        using TestVm vm = new();
        UInt128 vector = new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        const ulong General = 0x1122_3344_5566_7788;

        // The cumulative flags of FPSR.
        const uint Status = 0x0800_009f;
        vm.First.SetRegister(Arm64Register.V(3).Id, vector);
        vm.First.SetRegister(Arm64Register.V(31).Id, vector + 1);
        vm.First.SetRegister(Arm64Register.X(5), General);
        vm.First.SetRegister(Arm64Register.Fpsr.Id, Status);

        Check.Equal("V3", vector, vm.First.GetRegister<UInt128>(Arm64Register.V(3).Id));
        Check.Equal("V31", vector + 1, vm.First.GetRegister<UInt128>(Arm64Register.V(31).Id));
        Check.Equal("X5", General, vm.First.GetRegister(Arm64Register.X(5)));
        Check.Equal("FPSR", Status, vm.First.GetRegister<uint>(Arm64Register.Fpsr.Id));
        ulong[] list = vm.First.ListRegisters();
        foreach (Arm64Register register in (Arm64Register[])[Arm64Register.V(3), Arm64Register.X(5),
            Arm64Register.Fpsr, Arm64Register.Affinity, Arm64Register.PsciVersion, Arm64Register.VirtualTimerCompare])
        {
            Check.Equal($"0x{register.Id:x} is listed", true, list.Contains(register.Id));
        }

        Check.Equal("the size of V3", 16, Arm64Register.V(3).Size);
        Check.Equal("the second vCPU's affinity", 1ul, vm.Second.GetRegister(Arm64Register.Affinity) & 0xff);
    }

    private static void CheckMpState()
    {
        using TestVm vm = new();
        Check.Equal("the first vCPU", KvmMpState.Runnable, vm.First.MpState);
        Check.Equal("the second vCPU", KvmMpState.Stopped, vm.Second.MpState);

        vm.Second.MpState = KvmMpState.Runnable;

        Check.Equal("the second vCPU after the change", KvmMpState.Runnable, vm.Second.MpState);
    }

    private static void CheckDirtyLog()
    {
        using TestVm vm = new();
        ulong pageSize = (ulong)Environment.SystemPageSize;
        vm.Load(StoreAtX0, StoreAtX2);
        vm.First.SetRegister(Arm64Register.X(0), TestVm.Ram + (3 * pageSize));
        vm.First.SetRegister(Arm64Register.X(2), Nothing);
        ulong[] log = new ulong[vm.Vm.GetDirtyLogLength(0)];

        Check.Equal("the exit", KvmExitReason.Mmio, vm.First.Run());
        vm.Vm.GetDirtyLog(0, log);
        Check.Equal("the log", 1ul << 3, log[0]);
        vm.Vm.GetDirtyLog(0, log);
        Check.Equal("the log when read again", 0ul, log[0]);
    }

    private static void CheckInterruptFile()
    {
        // Interrupt 37 of the GIC is number 5 of the shared ones; GICD_ICFGR2 makes it one of edges.
        const uint Shared = 5;
        const int PendingRegister = 0x204;
        const int ConfigurationRegister = 0xc08;
        using TestVm vm = new();
        using EventFile file = EventFile.Create();
        vm.Gic.SetDistributorRegister(ConfigurationRegister, 2u << (2 * (int)Shared));
        vm.Vm.AddInterruptFile(file.Handle, Shared);
        Check.Equal("pending before", 0u, vm.Gic.GetDistributorRegister(PendingRegister));

        file.Signal();

        _ = SpinWait.SpinUntil(
            () => vm.Gic.GetDistributorRegister(PendingRegister) != 0, TimeSpan.FromSeconds(20));
        Check.Equal("pending after", 1u << (int)Shared, vm.Gic.GetDistributorRegister(PendingRegister));
        vm.Vm.RemoveInterruptFile(file.Handle, Shared);
    }

    private static void CheckIoEventFile()
    {
        using TestVm vm = new();
        using EventFile file = EventFile.Create();
        vm.Load(StoreAtX0, StoreAtX0, StoreAtX2);
        vm.First.SetRegister(Arm64Register.X(0), Doorbell);
        vm.First.SetRegister(Arm64Register.X(2), Nothing);
        vm.Vm.AddIoEventFile(file.Handle, Doorbell, sizeof(ulong));

        Check.Equal("the exit", KvmExitReason.Mmio, vm.First.Run());
        Check.Equal("its address", Nothing, vm.First.Mmio.Address);
        Check.Equal("signalled", true, file.TryTake(TimeSpan.Zero, out ulong count));
        Check.Equal("how often", 2ul, count);
        vm.Vm.RemoveIoEventFile(file.Handle, Doorbell, sizeof(ulong), null);
    }

    private static void CheckGicState()
    {
        using TestVm source = new();
        using TestVm target = new();
        Arm64Gic gic = source.Gic;

        // CTLR: both groups and affinity routing. Interrupts 32–63: group, enable, pending, active, priority, edge, and
        // one's route.
        gic.SetDistributorRegister(0x0000, 0x12);
        gic.SetDistributorRegister(0x0084, 0x0f0f_0f0f);
        gic.SetDistributorRegister(0x0104, 0x0000_1235);
        gic.SetDistributorRegister(0x0204, 0x0000_0020);
        gic.SetDistributorRegister(0x0304, 0x0000_0004);
        gic.SetDistributorRegister(0x0424, 0x2010_4080);
        gic.SetDistributorRegister(0x0c08, 0x0000_0a00);
        gic.SetDistributorRegister(0x6000 + (37 * 8), 1);
        foreach (uint affinity in (uint[])[0, 1])
        {
            gic.SetRedistributorRegister(affinity, 0x1_0080, 0xffff_0000 | affinity);
            gic.SetRedistributorRegister(affinity, 0x1_0100, 0x0800_00ff);
            gic.SetRedistributorRegister(affinity, 0x1_0404, 0x1020_3040u << (int)affinity);
            gic.SetCpuRegister(affinity, Arm64Register.InterruptPriorityMask, 0xf0 - (affinity * 0x10));
            gic.SetCpuRegister(affinity, Arm64Register.InterruptGroup1Enable, 1);
        }

        // A line of levels that is high.
        source.Vm.SetInterruptLine(Arm64Interrupt.Spi(40), isActive: true);
        ImmutableArray<Arm64GicEntry> state = gic.SaveState(source.First, source.Second);
        ImmutableArray<Arm64GicEntry> before = target.Gic.SaveState(target.First, target.Second);
        Check.Equal("the GICs differ before", false, state.SequenceEqual(before));

        target.Gic.RestoreState(state);

        ImmutableArray<Arm64GicEntry> after = target.Gic.SaveState(target.First, target.Second);
        Check.Equal("the number of entries", state.Length, after.Length);
        foreach ((Arm64GicEntry expected, Arm64GicEntry found) in state.Zip(after))
        {
            Check.Equal("an entry", expected, found);
        }

        Check.Equal("the level of interrupt 40", 1u << 8, target.Gic.GetLineLevels(0, 32));
        Check.Equal("the mask of the second vCPU", 0xe0ul,
            target.Gic.GetCpuRegister(1, Arm64Register.InterruptPriorityMask));
    }

    private static void CheckVmState()
    {
        // str x1, [x2]: an exit; add x1, x1, #1; ldr x3, [x4]; str x3, [x2]: another exit.
        const uint AddToX1 = 0x9100_0421;
        const uint LoadX3FromX4 = 0xf940_0083;
        const uint StoreX3AtX2 = 0xf900_0043;
        const ulong Stored = 0x0123_4567_89ab_cdef;
        const ulong Counted = 41;
        UInt128 vector = new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        using TestVm source = new();
        source.Load(StoreAtX0, StoreAtX2, AddToX1, LoadX3FromX4, StoreX3AtX2);
        source.First.SetRegister(Arm64Register.X(0), TestVm.Ram + 0x8000);
        source.First.SetRegister(Arm64Register.X(1), Counted);
        source.First.SetRegister(Arm64Register.X(2), Nothing);
        source.First.SetRegister(Arm64Register.X(4), TestVm.Ram + 0x8000);
        source.First.SetRegister(Arm64Register.V(7).Id, vector);
        source.First.SetRegister(Arm64Register.VirtualTimerCompare, Stored);
        source.First.SetRegister(Arm64Register.VirtualTimerControl, 1);
        source.Second.SetRegister(Arm64Register.PhysicalTimerCompare, Stored + 1);
        source.Second.SetRegister(Arm64Register.X(9), Stored + 2);
        source.Gic.SetDistributorRegister(0x0000, 0x12);
        source.Gic.SetRedistributorRegister(1, 0x1_0100, 0x0800_00ff);
        Check.Equal("the exit", KvmExitReason.Mmio, source.First.Run());
        source.First.CompleteExit();
        Arm64Counters stopped = Arm64Counters.Read(source.First);
        using MemoryStream registers = new();
        using MemoryStream memory = new();
        Arm64VmState.Save(registers, source.Gic, stopped, source.First, source.Second);
        GuestMemoryState.Save(source.Memory, memory);
        Console.WriteLine($"{registers.Length} bytes of registers, {memory.Length} bytes of memory");

        using TestVm target = new();
        registers.Position = 0;
        memory.Position = 0;
        GuestMemoryState.Restore(target.Memory, memory);
        Arm64Counters restored = Arm64VmState.Restore(registers, target.Gic, target.First, target.Second);

        Check.Equal("all was read", (registers.Length, memory.Length), (registers.Position, memory.Position));
        foreach ((string name, KvmVcpu expected, KvmVcpu found) in ((string, KvmVcpu, KvmVcpu)[])
            [("first", source.First, target.First), ("second", source.Second, target.Second)])
        {
            Check.Equal($"the {name} vCPU's state", expected.MpState, found.MpState);
            foreach (ulong id in expected.ListRegisters())
            {
                if (id != Arm64Register.VirtualCounter.Id && id != Arm64Register.PhysicalCounter.Id)
                {
                    byte[] value = new byte[new Arm64Register(id).Size];
                    byte[] other = new byte[value.Length];
                    expected.GetRegister(id, value);
                    found.GetRegister(id, other);
                    Check.Equal($"0x{id:x}", Convert.ToHexString(value), Convert.ToHexString(other));
                }
            }
        }

        Check.Equal("the GIC", true, source.Gic.SaveState(source.First, source.Second)
            .SequenceEqual(target.Gic.SaveState(target.First, target.Second)));
        Check.Equal("the counters", stopped, restored);
        Check.Equal(
            "the counter goes on", true, target.First.GetRegister(Arm64Register.VirtualCounter) >= stopped.Virtual);

        // The time that passes until the counters are set again is not the guest's.
        Thread.Sleep(1000);
        ulong late = target.First.GetRegister(Arm64Register.VirtualCounter);
        restored.Set(target.First);
        ulong set = target.First.GetRegister(Arm64Register.VirtualCounter);
        Check.Equal("the counter is set again", true, set >= stopped.Virtual && set < late);

        // The program goes on where it was.
        Check.Equal("the exit", KvmExitReason.Mmio, target.First.Run());
        Check.Equal("what it has counted", Counted + 1, target.First.GetRegister(Arm64Register.X(1)));
        Check.Equal("what it reads", Counted, target.First.Mmio.ReadValue());

        // A VM whose counter is ahead of the host's goes on, too.
        ulong physical = source.First.GetRegister(Arm64Register.PhysicalCounter) + (1ul << 50);
        source.First.SetRegister(Arm64Register.PhysicalCounter, physical);
        registers.SetLength(0);
        Arm64VmState.Save(registers, source.Gic, Arm64Counters.Read(source.First), source.First, source.Second);
        registers.Position = 0;
        using TestVm ahead = new();
        _ = Arm64VmState.Restore(registers, ahead.Gic, ahead.First, ahead.Second);
        Check.Equal(
            "the physical counter", true, ahead.First.GetRegister(Arm64Register.PhysicalCounter) >= physical);
    }

    private static void CheckSmcccFilter()
    {
        const uint First = 0xb200_0000;
        const uint Denied = 0xb300_0000;
        using TestVm vm = new();
        vm.Vm.FilterCalls(First, 0x1_0000, Arm64SmcccAction.ForwardToUser);
        vm.Vm.FilterCalls(Denied, 0x1_0000, Arm64SmcccAction.Deny);

        // mov x5, x0 keeps KVM's answer to the denied call, which is in X0 to X3; mov x0, x4 is the forwarded call.
        vm.Load(Smc, 0xaa00_03e5, 0xaa04_03e0, Smc);
        vm.First.SetRegister(Arm64Register.X(0), Denied + 1);
        vm.First.SetRegister(Arm64Register.X(4), First + 7);

        Check.Equal("the exit", KvmExitReason.Hypercall, vm.First.Run());
        Check.Equal("the call", First + 7ul, vm.First.Hypercall.Number);
        Check.Equal("made with SMC", true, vm.First.Hypercall.IsSmc);
        Check.Equal("KVM's answer to the denied call", ulong.MaxValue, vm.First.GetRegister(Arm64Register.X(5)));
    }

    private static void CheckCapability()
    {
        using TestVm vm = new();
        vm.Vm.EnableCapability(KvmCapability.ManualDirtyLog, 1);
        ulong pageSize = (ulong)Environment.SystemPageSize;
        vm.Load(StoreAtX0, StoreAtX2);
        vm.First.SetRegister(Arm64Register.X(0), TestVm.Ram + (5 * pageSize));
        vm.First.SetRegister(Arm64Register.X(2), Nothing);
        ulong[] log = new ulong[vm.Vm.GetDirtyLogLength(0)];

        Check.Equal("the exit", KvmExitReason.Mmio, vm.First.Run());
        vm.Vm.GetDirtyLog(0, log);
        vm.Vm.GetDirtyLog(0, log);
        Check.Equal("the log, which stays until it is cleared", 1ul << 5, log[0]);
        vm.Vm.ClearDirtyLog(0, 0, 64, [1ul << 5]);
        vm.Vm.GetDirtyLog(0, log);
        Check.Equal("the log after", 0ul, log[0]);
    }

    // Not of KVM, but of the same machine: what its processors may reorder.
    private static void CheckLitmusTests()
    {
        const int Batches = 30;
        int found = 0;
        foreach (Func<LitmusTest> make in LitmusTests.All)
        {
            LitmusResult result = LitmusRun.Execute(make, Batches);
            LitmusResult control = LitmusRun.ExecuteWithoutFences(make, Batches);
            Console.WriteLine(
                $"{make().Name}: {result.Forbidden} of {result.Rounds} rounds ({result.Met} side by side);"
                    + $" without fences {control.Forbidden} of {control.Rounds} ({control.Met})");
            found += result.Forbidden;
        }

        Check.Equal("forbidden outcomes", 0, found);
    }
}
