using MinimalVmm.X86;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>A real VM of a few instructions in real mode.</summary>
[TestFixture]
public sealed class KvmX86Tests
{
    private const ulong CodeAddress = 0x1000;
    private const ushort Port = 0x3f8;

    private MemfdGuestMemory? _memory;
    private KvmSystem? _system;
    private KvmVm? _vm;
    private KvmVcpu? _vcpu;

    private MemfdGuestMemory Memory => _memory!;

    private KvmVcpu Vcpu => _vcpu!;

    [SetUp]
    public void CreateVm()
    {
        _system = KvmHost.OpenX86();
        _memory = MemfdGuestMemory.Create(new GuestRange(0, 0x10000));
        _vm = _system.CreateVm();
        _vm.MapMemory(_memory);
        _vcpu = _vm.CreateVcpu(0);
        Begin(_vcpu);
    }

    [TearDown]
    public void DestroyVm()
    {
        _vcpu?.Dispose();
        _vm?.Dispose();
        _system?.Dispose();
        _memory?.Dispose();
    }

    [Test]
    public void Run_OutInstruction_ExitsWithPortAndData()
    {
        Load([0xba, 0xf8, 0x03, 0xb0, 0x4b, 0xee, 0xf4]); // mov dx, 0x3f8; mov al, 'K'; out dx, al; hlt

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Io));
        KvmIoExit io = Vcpu.Io;
        byte[] data = io.Data.ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(io.Port, Is.EqualTo(Port));
            Assert.That(io.IsWrite, Is.True);
            Assert.That(io.Size, Is.EqualTo(1));
            Assert.That(data, Is.EqualTo("K"u8.ToArray()));
            Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        }
    }

    [Test]
    public void Run_InInstruction_GuestSeesAnswer()
    {
        Load([0xba, 0xf8, 0x03, 0xec, 0xa2, 0x00, 0x20, 0xf4]); // mov dx, 0x3f8; in al, dx; mov [0x2000], al; hlt

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Io));
        Assert.That(Vcpu.Io.IsWrite, Is.False);
        Vcpu.Io.Data[0] = 0x5a;
        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        Assert.That(Memory.TryRead(0x2000, out byte stored) ? stored : 0, Is.EqualTo(0x5a));
    }

    [Test]
    public void Run_WriteOutsideMemory_ExitsWithMmio()
    {
        // mov eax, 0x12345678; mov bx, 0xf000; mov ds, bx; mov [0x1010], eax; hlt
        Load([0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xbb, 0x00, 0xf0, 0x8e, 0xdb, 0x66, 0xa3, 0x10, 0x10, 0xf4]);

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Mmio));
        KvmMmioExit mmio = Vcpu.Mmio;
        int length = mmio.Data.Length;
        ulong value = mmio.ReadValue();
        GuestAddress address = mmio.Address;
        bool isWrite = mmio.IsWrite;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(address, Is.EqualTo(new GuestAddress(0xf1010)));
            Assert.That(isWrite, Is.True);
            Assert.That(length, Is.EqualTo(4));
            Assert.That(value, Is.EqualTo(0x12345678));
        }
    }

    [Test]
    public void CompleteExit_AfterInInstruction_RegisterHoldsAnswer()
    {
        Load([0xba, 0xf8, 0x03, 0xec, 0xf4]); // mov dx, 0x3f8; in al, dx; hlt

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Io));
        Vcpu.Io.Data[0] = 0x77;
        Vcpu.CompleteExit();

        X86Registers registers = Vcpu.GetRegisters();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(registers.Rax & 0xff, Is.EqualTo(0x77));
            Assert.That(registers.Rip, Is.EqualTo(CodeAddress + 4));
            Assert.That(Vcpu.ExitReason, Is.EqualTo(KvmExitReason.Interrupted));
            Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        }
    }

    [Test]
    public void Kick_GuestInEndlessLoop_RunReturnsInterrupted()
    {
        Load([0xeb, 0xfe]); // jmp $
        using Timer timer = new(_ => Vcpu.Kick(), null, 50, Timeout.Infinite);

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Interrupted));
    }

    [Test]
    public void Kick_BeforeRun_NextRunReturnsInterruptedAndThenRunsOn()
    {
        Load([0xf4]); // hlt
        Vcpu.Kick();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Interrupted));
            Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        }
    }

    [Test]
    public void Kick_DuringCompleteExit_IsKeptForNextRun()
    {
        Load([0xe6, 0x80, 0xf4]); // out 0x80, al; hlt
        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Io));
        Vcpu.Kick();
        Vcpu.CompleteExit();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Interrupted));
            Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        }
    }

    [Test]
    public void Kick_AtEveryPointOfARun_IsNeverLost()
    {
        const int Kicks = 300;
        Load([0xeb, 0xfe]); // jmp $
        int returns = 0;
        Thread runner = new(() => RunUntilReturned(ref returns, Kicks)) { IsBackground = true };
        runner.Start();

        // Each kick follows the return from the one before at once, when the thread is anywhere between two runs.
        int answered = Enumerable.Range(0, Kicks).TakeWhile(kick => KickAndAwaitReturn(ref returns, kick)).Count();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(answered, Is.EqualTo(Kicks));
            Assert.That(runner.Join(TimeSpan.FromSeconds(10)), Is.True);
        }
    }

    [Test]
    public void Io_AfterAnotherExit_Throws()
    {
        Load([0xf4]); // hlt
        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));

        Assert.That(() => _ = Vcpu.Io.Port, Throws.InvalidOperationException.With.Message.Contains("Halt"));
    }

    [Test]
    public void Run_Disposed_Throws()
    {
        Vcpu.Dispose();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(Vcpu.Run, Throws.InstanceOf<ObjectDisposedException>());
            Assert.That(Vcpu.Kick, Throws.InstanceOf<ObjectDisposedException>());
            Assert.That(() => Vcpu.RunAddress, Throws.InstanceOf<ObjectDisposedException>());
        }
    }

    [Test]
    public void Run_ExitAfterExit_AllocatesNothing()
    {
        Load([0xe6, 0x80, 0xeb, 0xfc]); // again: out 0x80, al; jmp again
        long sum = RunTimes(100);

        long before = GC.GetAllocatedBytesForCurrentThread();
        sum += RunTimes(1000);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        using (Assert.EnterMultipleScope())
        {
            Assert.That(allocated, Is.Zero);
            Assert.That(sum, Is.EqualTo(1100 * 0x80));
        }
    }

    [Test]
    public void CreateVcpu_Twice_MessageSaysWhy() =>
        Assert.That(() => _vm!.CreateVcpu(0), Throws.InstanceOf<SystemCallException>().With.Message.Contains("EEXIST"));

    [Test]
    public void SetMemoryRegion_Overlapping_MessageSaysWhy() =>
        Assert.That(
            () => _vm!.SetMemoryRegion(5, 0x1000, 0x1000, Memory.Regions[0].HostAddress, KvmMemoryFlags.None),
            Throws.InstanceOf<SystemCallException>().With.Message.Contains("EEXIST").And.Message.Contains("slot 5"));

    [Test]
    public void GetDirtyLog_GuestWrites_HasThePageOnce()
    {
        // mov byte [0x3005], 1; hlt
        Load([0xc6, 0x06, 0x05, 0x30, 0x01, 0xf4]);
        LogDirtyPages();

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        ulong[] first = new ulong[1];
        ulong[] second = new ulong[1];
        _vm!.GetDirtyLog(0, first);
        _vm.GetDirtyLog(0, second);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(_vm.GetDirtyLogLength(0), Is.EqualTo(1));
            Assert.That(first[0], Is.EqualTo(1ul << 3));
            Assert.That(second[0], Is.Zero);
        }
    }

    [Test]
    public void TakeWritten_VcpusOfTwoVmsAndTheHostWrite_NamesThePagesOfAll()
    {
        TrackedGuestMemory tracked = new(Memory);
        tracked.AddVm(_vm!);
        using KvmVm other = _system!.CreateVm();
        other.MapMemory(Memory);
        using KvmVcpu second = other.CreateVcpu(0);
        Begin(second);
        Load([0xc6, 0x06, 0x05, 0x30, 0x01, 0xf4]); // mov byte [0x3005], 1; hlt
        tracked.StartTracking();
        tracked.AddVm(other);

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        _ = tracked.TryWrite(0x5000, (byte)1);
        Assert.That(tracked.TakeWritten(), Is.EqualTo((GuestRange[])[new(0x3000, 4096), new(0x5000, 4096)]));
        Assert.That(tracked.TakeWritten(), Is.Empty);

        // What a VM has written before it goes is not lost.
        Load([0xa2, 0x00, 0x70, 0xf4]); // mov [0x7000], al; hlt
        Assert.That(second.Run(), Is.EqualTo(KvmExitReason.Halt));
        tracked.RemoveVm(other);
        Assert.That(tracked.TakeWritten(), Does.Contain(new GuestRange(0x7000, 4096)));

        tracked.StopTracking();
        Begin(Vcpu);
        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        Assert.That(tracked.TakeWritten(), Is.Empty);
        Assert.That(() => _vm!.GetDirtyLog(0, new ulong[1]), Throws.TypeOf<SystemCallException>(), "it logs no more");
        Assert.That(() => _vm!.SetDirtyLog(7, isOn: true), Throws.ArgumentException);
    }

    [Test]
    public void RemoveVm_KvmDoesNotTellWhatItHasWritten_AllPagesCountAsWritten()
    {
        TrackedGuestMemory tracked = new(Memory);
        KvmVm other = _system!.CreateVm();
        other.MapMemory(Memory);
        tracked.AddVm(other);
        tracked.StartTracking();
        other.Dispose();

        tracked.RemoveVm(other);

        Assert.That(tracked.TakeWritten(), Is.EqualTo(Memory.Regions.Select(region => region.Range)));
        Assert.That(tracked.TakeWritten(), Is.Empty);
    }

    [Test]
    public void ClearDirtyLog_ManualLog_TakesThePagesThatAreSet()
    {
        // mov byte [0x3005], 1; mov byte [0x4000], 1; hlt
        Load([0xc6, 0x06, 0x05, 0x30, 0x01, 0xc6, 0x06, 0x00, 0x40, 0x01, 0xf4]);
        _vm!.EnableCapability(KvmCapability.ManualDirtyLog, 1);
        LogDirtyPages();

        Assert.That(Vcpu.Run(), Is.EqualTo(KvmExitReason.Halt));
        ulong[] before = new ulong[1];
        ulong[] after = new ulong[1];
        _vm.GetDirtyLog(0, before);
        _vm.ClearDirtyLog(0, 0, 16, [1ul << 3]);
        _vm.GetDirtyLog(0, after);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(before[0], Is.EqualTo(3ul << 3));
            Assert.That(after[0], Is.EqualTo(1ul << 4));
        }
    }

    // KVM writes as many bits as the slot has pages, whatever the length of the caller's memory.
    [Test]
    public void GetDirtyLog_BitmapTooShort_Throws()
    {
        LogDirtyPages();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => _vm!.GetDirtyLog(0, []), Throws.ArgumentException.With.Message.Contains("1 words"));
            Assert.That(() => _vm!.GetDirtyLog(9, new ulong[1]),
                Throws.ArgumentException.With.Message.Contains("0 words"));
            Assert.That(() => _vm!.ClearDirtyLog(0, 0, 65, [0ul]),
                Throws.ArgumentException.With.Message.Contains("65"));
        }
    }

    [Test]
    public void GetDirtyLog_SlotDoesNotLog_SaysSo() =>
        Assert.That(
            () => _vm!.GetDirtyLog(0, new ulong[1]),
            Throws.InstanceOf<SystemCallException>().With.Message.Contains("ENOENT").And.Message.Contains("slot 0"));

    [Test]
    public void AddIoEventFile_GuestWritesThere_IsSignalledInsteadOfAnExit()
    {
        const ulong Doorbell = 0x2_0000;

        // mov bx, 0x2000; mov ds, bx; mov byte [0], 7; mov byte [0], 8; hlt
        Load([0xbb, 0x00, 0x20, 0x8e, 0xdb, 0xc6, 0x06, 0x00, 0x00, 0x07, 0xc6, 0x06, 0x00, 0x00, 0x08, 0xf4]);
        using EventFile file = EventFile.Create();
        _vm!.AddIoEventFile(file.Handle, Doorbell, 1, 7);

        KvmExitReason other = Vcpu.Run();
        ulong value = Vcpu.Mmio.ReadValue();
        bool isSignalled = file.TryTake(TimeSpan.Zero, out ulong count);
        _vm.RemoveIoEventFile(file.Handle, Doorbell, 1, 7);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(other, Is.EqualTo(KvmExitReason.Mmio), "another value is an exit");
            Assert.That(value, Is.EqualTo(8));
            Assert.That((isSignalled, count), Is.EqualTo((true, 1ul)));
            Assert.That(
                () => _vm.RemoveIoEventFile(file.Handle, Doorbell, 1, 7),
                Throws.InstanceOf<SystemCallException>().With.Message.Contains("ENOENT"));
        }
    }

    [Test]
    public void AddInterruptFile_VmWithoutInterruptController_SaysSo()
    {
        using EventFile file = EventFile.Create();

        Assert.That(
            () => _vm!.AddInterruptFile(file.Handle, 5),
            Throws.InstanceOf<SystemCallException>().With.Message.Contains("interrupt 5"));
    }

    [Test]
    public void EnableCapability_Unknown_SaysWhich()
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                () => _vm!.EnableCapability((KvmCapability)0x7fff_fff0),
                Throws.InstanceOf<SystemCallException>().With.Message.Contains("2147483632"));
            Assert.That(
                () => Vcpu.EnableCapability(KvmCapability.UserMemory, 1, 2, 3, 4, 5),
                Throws.ArgumentException.With.Message.Contains("at most 4"));
        }
    }

    // The first vCPU of a VM without an interrupt controller in the kernel is always runnable.
    [Test]
    public void MpState_NewVcpu_IsRunnable() => Assert.That(Vcpu.MpState, Is.EqualTo(KvmMpState.Runnable));

    [Test]
    public void GetRegister_OfAnotherSize_IsRefusedBeforeKvmSeesIt() =>
        Assert.That(
            () => Vcpu.GetRegister<uint>(0x6030_0000_0010_0000),
            Throws.ArgumentException.With.Message.Contains("8 bytes").And.Message.Contains("4"));

    private static void Begin(KvmVcpu vcpu)
    {
        X86SpecialRegisters special = vcpu.GetSpecialRegisters();
        special.Cs.Base = 0;
        special.Cs.Selector = 0;
        vcpu.SetSpecialRegisters(special);
        vcpu.SetRegisters(new X86Registers { Rip = CodeAddress, Rflags = 2 });
    }

    private void LogDirtyPages() =>
        _vm!.SetMemoryRegion(0, 0, 0x10000, Memory.Regions[0].HostAddress, KvmMemoryFlags.LogDirtyPages);

    private void Load(ReadOnlySpan<byte> code) => Assert.That(Memory.TryWrite(CodeAddress, code), Is.True);

    private bool KickAndAwaitReturn(ref int returns, int before)
    {
        Vcpu.Kick();
        long start = Environment.TickCount64;
        while (Volatile.Read(ref returns) <= before && Environment.TickCount64 - start < 10_000)
        {
            _ = Thread.Yield();
        }

        return Volatile.Read(ref returns) > before;
    }

    private void RunUntilReturned(ref int returns, int times)
    {
        while (Volatile.Read(ref returns) < times)
        {
            _ = Vcpu.Run();
            _ = Interlocked.Increment(ref returns);
        }
    }

    private long RunTimes(int times)
    {
        long ports = 0;
        for (int index = 0; index < times; index++)
        {
            _ = Vcpu.Run();
            ports += Vcpu.Io.Port;
        }

        return ports;
    }
}
