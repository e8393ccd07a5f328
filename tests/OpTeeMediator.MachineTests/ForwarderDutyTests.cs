using OpTeeMediator.Backends;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Machines.Xtest;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.MachineTests;

/// <summary>The six things that the real OP-TEE built for virtualization asks of a mediator; Linux in one VM, this
/// process in a second one.</summary>
[TestFixture]
internal sealed class ForwarderDutyTests() : ForwarderFixture(new PartitionedMachineOptions { Cpus = 1 })
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    [Test]
    public void VmCreated_BeforeAnyCall_IsAnsweredOk()
    {
        RecordedCall[] calls = [.. Monitor!.Calls];
        int announcement = Array.FindIndex(calls, call => call.Made.X0 == OpTeeSmc.VmCreated
            && call.Made.X1 == (ulong)Forwarder.VirtualMachineId);
        int first = Array.FindIndex(calls, call => call.Made.X7 == (ulong)Forwarder.VirtualMachineId);

        Assert.That(announcement, Is.Not.Negative.And.LessThan(first));
        Assert.That(calls[announcement].Made.X7, Is.Zero);
        Assert.That(calls[announcement].Answer.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public async Task VmDestroyed_AfterDisposal_IsAnsweredOkAndTheVmIsUnknown()
    {
        OtherVm other = new(Machine, OpTee);
        int id = other.Forwarder.VirtualMachineId;
        _ = other.OpenEnumeration();
        Assert.That(CallsUid(id).X0, Is.Not.EqualTo(OpTeeSmc.ReturnNotAvailable));

        await other.Forwarder.DisposeAsync();

        Assert.That(CallsUid(id).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
    }

    [Test]
    public async Task VmId_InX7OfEveryCall_IsTheVmsAndAnotherIsRefused()
    {
        int before = Monitor!.Calls.Count;
        await using OtherVm other = new(Machine, OpTee);
        _ = other.OpenEnumeration();
        await AssertThatLinuxIsServed();

        RecordedCall[] calls = [.. Monitor.Calls.Skip(before)];
        Assert.That(other.Forwarder.VirtualMachineId, Is.Not.EqualTo(Forwarder.VirtualMachineId));
        Assert.That(calls.Where(call => !call.Made.FunctionId.IsFast).Select(call => (int)call.Made.X7),
            Is.All.AnyOf(Forwarder.VirtualMachineId, other.Forwarder.VirtualMachineId));
        Assert.That(CallsUid(99).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
    }

    [Test]
    public async Task Addresses_OfMessagesAndBuffers_ArePhysical()
    {
        await using OtherVm other = new(Machine, OpTee);
        uint session = other.OpenEnumeration();
        ulong[] pages = other.Driver.AllocatePages(600, 3);
        Assert.That(other.Driver.Register(pages, 0x10, (600 * 4096) - 0x10, Cookie).ReturnCode, Is.Zero);
        Assert.That(other.Memory.PhysicalOf(pages[0]), Is.Not.EqualTo(pages[0]));

        // The last bytes of the buffer: on its last page, which the second part of the page list names.
        ulong size = other.Driver.Invoke(session, 0,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, 0, 0, 0)).Parameters[0].B;
        GuestMessage answer =
            other.Driver.Invoke(session, 0, GuestParameter.RegisteredOut((600 * 4096) - 0x10 - size, size, Cookie));

        byte[] uuids = new byte[size];
        other.Driver.Read<byte>(pages[^1] + 4096 - size, uuids);
        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(uuids, Has.Some.Not.Zero, "OP-TEE has written the devices' UUIDs there.");
        Assert.That(
            Monitor!.Calls.Where(call => call.Made.X0 is OpTeeSmc.CallWithArgument or OpTeeSmc.CallWithRpcArgument)
                .Select(call => call.Made.Pair(1, 2)),
            Is.All.InRange(PartitionedMachine.FirstShadow, PartitionedMachine.LastShadow), "messages");
    }

    [Test]
    public async Task Pins_OfSharedMemory_LastUntilOpTeeHasReleasedIt()
    {
        await using OtherVm other = new(Machine, OpTee);
        ulong page = other.FreePage;
        int block = other.Memory.BlockOf(page);
        Assert.That(other.Driver.Register([page], 0, 4096, Cookie).ReturnCode, Is.Zero);

        Assert.That(other.Memory.TryUnmap(block), Is.False);
        Assert.That(other.Driver.Unregister(Cookie).ReturnCode, Is.Zero);
        Assert.That(other.Memory.Pins, Is.Zero);
        Assert.That(other.Memory.TryUnmap(block));
        Assert.That(other.Driver.Register([page], 0, 4096, Cookie).ReturnCode,
            Is.EqualTo((uint)TeeReturnCode.BadParameters), "It is no memory of the guest any more.");
    }

    [Test]
    public async Task Pins_OfADestroyedVm_AreGone()
    {
        OtherVm other = new(Machine, OpTee);
        Assert.That(other.Driver.Register(other.Driver.AllocatePages(20, 2), 0, 20 * 4096, Cookie).ReturnCode, Is.Zero);
        SmcRegisters suspended = other.StartUntilRpc();
        Assert.That(other.Memory.Pins, Is.GreaterThan(0));
        Assert.That(suspended.X3, Is.Not.Zero);

        await other.Forwarder.DisposeAsync();

        Assert.That(other.Memory.Pins, Is.Zero);
        Assert.That(other.Forwarder.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    [Test]
    public async Task Protocol_SeenByTheGuest_EqualsOpTees()
    {
        await using OtherVm other = new(Machine, OpTee);
        string log = (await Machine.RunAsync("dmesg")).Succeeded();

        Assert.That(log, Does.Match($@"optee: revision {(await MachinePackages.ReadAsync()).OpTeeRevision}\D")
            .And.Contain("optee: initialized driver"));
        Assert.That(First4(other.Driver.Call(OpTeeSmc.CallsUid)),
            Is.EqualTo(new ulong[] { 0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b }));
        Assert.That(First4(other.Driver.Call(OpTeeSmc.ExchangeCapabilities)), Is.EqualTo(new ulong[] { 0, 0x54, 0, 4 }),
            "OP-TEE itself offers 0xfd.");
        Assert.That(First4(other.Driver.Call(OpTeeSmc.GetShmConfig)),
            Is.EqualTo(new ulong[] { OpTeeSmc.ReturnNotAvailable, 0, 0, 0 }));
        Assert.That(other.Driver.Call(OpTeeSmc.VmDestroyed, (ulong)Forwarder.VirtualMachineId).X0,
            Is.EqualTo(OpTeeSmc.ReturnUnknownFunction));
        Assert.That(First4(other.Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, 7)),
            Is.EqualTo(new ulong[] { OpTeeSmc.ReturnResume, 0, 0, 0 }), "OP-TEE's own leaves 1 and 2 behind.");
    }

    [Test]
    public async Task TwoVms_OnOneMachine_ShareNothing()
    {
        await using OtherVm other = new(Machine, OpTee);
        Task<XtestRun> linux =
            XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(2), "1004", "1006", "1016", "4001");
        int rounds = 0;
        while (!linux.IsCompleted)
        {
            uint session = other.OpenEnumeration();
            Assert.That(
                other.Driver.Register(other.Pages, 0, (ulong)other.Pages.Length * 4096, Cookie).ReturnCode, Is.Zero);
            Assert.That(
                other.Driver.Invoke(session, 0, GuestParameter.RegisteredOut(0, 0x100, Cookie)).ReturnCode, Is.Zero);
            Assert.That(other.Driver.Unregister(Cookie).ReturnCode, Is.Zero);
            Assert.That(other.Driver.CloseSession(session).ReturnCode, Is.Zero);
            rounds++;
        }

        XtestRun run = await linux;
        TestContext.Out.WriteLine($"{rounds} rounds in the other VM beside\n{run}");
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.EqualTo(4));
        Assert.That(rounds, Is.GreaterThan(10));
    }

    [Test]
    public async Task TwoVms_SessionsAndCookiesOfOne_MeanNothingInTheOther()
    {
        Assert.That(Recording.MessageCookie, Is.Not.Zero);
        await using OtherVm other = new(Machine, OpTee);
        Task<XtestRun> linux = XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(2), "1006");
        uint session = 0;
        int most = 0;
        while (!linux.IsCompleted)
        {
            most = Math.Max(most, Forwarder.Status.Sessions!.Value);
            Assert.That(other.Driver.Invoke(++session % 32, 0).ReturnCode,
                Is.EqualTo((uint)TeeReturnCode.BadParameters), $"session {session % 32}");
        }

        TestContext.Out.WriteLine($"{session} calls of sessions that are another VM's");
        Assert.That(most, Is.Positive, "Linux had sessions meanwhile.");
        Assert.That((await linux).Failures, Is.Empty);
        uint own = other.OpenEnumeration();
        Assert.That(other.Driver.Invoke(own, 0, GuestParameter.RegisteredOut(0, 0x100,
            Recording.MessageCookie)).ReturnCode, Is.EqualTo((uint)TeeReturnCode.BadParameters));
        Assert.That(other.Driver.Unregister(Recording.MessageCookie).ReturnCode,
            Is.EqualTo((uint)TeeReturnCode.BadParameters));
        await AssertThatLinuxIsServed();
    }

    [Test]
    public async Task TwoVms_OneDestroyed_LeavesTheOtherRunning()
    {
        OtherVm other = new(Machine, OpTee);
        _ = other.OpenEnumeration();
        Task<XtestRun> linux = XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(2), "1006");
        while (Forwarder.Status.Sessions == 0 && !linux.IsCompleted)
        {
            await Task.Delay(10);
        }

        await other.Forwarder.DisposeAsync();

        Assert.That((await linux).Failures, Is.Empty);
        await AssertThatLinuxIsServed();
    }

    [Test]
    public async Task CreateAndDestroy_FiftyTimes_LeavesBothPlacesFree()
    {
        for (int round = 0; round < 50; round++)
        {
            OtherVm other = new(Machine, OpTee);
            Assert.That(
                other.Driver.Register(other.Pages, 0, (ulong)other.Pages.Length * 4096, Cookie).ReturnCode, Is.Zero);
            _ = other.OpenEnumeration();
            if (round % 2 == 0)
            {
                _ = other.StartUntilRpc();
            }

            await other.Forwarder.DisposeAsync();
            Assert.That(other.Memory.Pins, Is.Zero);
        }

        await using OtherVm last = new(Machine, OpTee);
        Assert.That(() => new OtherVm(Machine, OpTee), Throws.InstanceOf<TeeUnavailableException>(),
            "OP-TEE has two places: Linux' and this one.");
        await AssertThatLinuxIsServed();
    }

    [Test]
    public async Task HostileGuest_PageListsOutsideItsMemory_AreRefused()
    {
        await using OtherVm other = new(Machine, OpTee);
        ulong linux = Machine.Memory.PhysicalOf(Machine.Memory.Range.Start);
        foreach (ulong page in new[] { linux, PartitionedMachine.FirstShadow, 0x6000_0000ul, 0x4200_0000ul
            + (64 << 20), 0x0e10_0000ul, other.Memory.Range.End.Value })
        {
            Assert.That(
                other.Driver.Register([other.Driver.AllocatePage(), page], 0, 0x2000, Cookie).ReturnCode,
                Is.EqualTo((uint)TeeReturnCode.BadParameters), $"0x{page:x}");
        }

        Assert.That(other.Memory.Pins, Is.Zero);
        await AssertThatLinuxIsServed();
    }

    [Test]
    public async Task HostileGuest_BogusResumesAndCookies_AreRefused()
    {
        await using OtherVm other = new(Machine, OpTee);
        SmcRegisters suspended = other.StartUntilRpc();

        foreach (ulong information in new ulong[] { 0, 1, 2, suspended.X3 + 1, suspended.X3
            + 256, suspended.X3 - 1, uint.MaxValue })
        {
            Assert.That(other.Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, information).X0,
                Is.EqualTo(OpTeeSmc.ReturnResume), $"{information:x}");
        }

        Assert.That(other.Driver.Finish(suspended), Is.EqualTo(OpTeeSmc.ReturnOk), "It can still be resumed.");
        Assert.That(other.Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, suspended.X3).X0,
            Is.EqualTo(OpTeeSmc.ReturnResume), "But once.");
        Assert.That(other.Driver.Register([other.Driver.AllocatePage()], 0, 4096, 0).ReturnCode,
            Is.EqualTo((uint)TeeReturnCode.BadParameters));
        await AssertThatLinuxIsServed();
    }

    [Test]
    public async Task HostileGuest_MessagesRewrittenDuringCallsAndRpcs_HarmNoOtherVm()
    {
        await using OtherVm other = new(Machine, OpTee);
        Random random = new(4711);
        for (int round = 0; round < 40; round++)
        {
            SmcRegisters registers = other.StartUntilRpc();
            for (int step = 0; step < 12 && (registers.X0 & 0xffff_0000) == 0xffff_0000; step++)
            {
                // The whole page: the message, OP-TEE's own beside it, and the answer to it.
                byte[] noise = new byte[512];
                random.NextBytes(noise);
                noise.AsSpan(OtherVm.RpcOffset + 20, 4).Clear(); // the return code: success
                if (step % 2 == 0)
                {
                    other.Driver.Write<byte>(other.Driver.MessagePage, noise);
                }

                registers = other.Driver.Call(OpTeeSmc.ReturnFromRpc, (ulong)random.Next(), (ulong)random.Next(),
                    registers.X3, (ulong)random.Next(), (ulong)random.Next());
            }

            Assert.That(registers.X0, Is.Not.EqualTo((ulong)OpTeeSmc.ReturnResume));
            await other.Forwarder.ResetAsync();
            Assert.That(other.Memory.Pins, Is.Zero);
        }

        Assert.That(other.OpenEnumeration(), Is.Not.Zero);
        await AssertThatLinuxIsServed();
    }

    private SmcRegisters CallsUid(int id)
    {
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.CallsUid;
        registers.X7 = (ulong)id;
        Machine.Monitor.MakeCall(ref registers);
        return registers;
    }

    private async Task AssertThatLinuxIsServed()
    {
        XtestRun run = await XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(1), "1004");
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.EqualTo(1));
    }

    private static ulong[] First4(SmcRegisters registers) => [registers.X0, registers.X1, registers.X2, registers.X3];
}
