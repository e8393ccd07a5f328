using OpTeeMediator.Backends;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>The six things that an OP-TEE built for virtualization asks of a mediator.</summary>
internal sealed class DutyTests : ForwarderFixture
{
    private static readonly Func<FakeThread, IEnumerable<RpcStep>> AsksForTheTime = thread =>
        thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());

    [Test]
    public void VmCreated_NewForwarder_PrecedesTheFirstCall()
    {
        ForwardedVm vm = Bench.Create();

        SmcRegisters announcement = Bench.OpTee.Calls.Single(call => call.X0 == OpTeeSmc.VmCreated);
        Assert.That(announcement.X1, Is.EqualTo((ulong)vm.Forwarder.VirtualMachineId));
        Assert.That(announcement.X7, Is.Zero, "This call is the hypervisor's own.");
        Assert.That(Bench.OpTee.VirtualMachines, Is.EqualTo(new[] { vm.Forwarder.VirtualMachineId }));
    }

    [Test]
    public async Task VmDestroyed_Disposal_FreesItsNumberAndPins()
    {
        ForwardedVm vm = Bench.Create();
        _ = vm.Open();
        _ = vm.Share(ForwarderBench.Cookie, 3);

        await vm.Forwarder.DisposeAsync();

        Assert.That(Bench.OpTee.VirtualMachines, Is.Empty);
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        Assert.That(Bench.World.VirtualMachines, Is.Zero);
        Assert.That(vm.Driver.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(SmcccReturn.NotSupported));
    }

    [Test]
    public void VmId_InX7OfEveryCall_ReplacesTheGuestsX7()
    {
        ForwardedVm vm = Bench.Create();
        Bench.OpTee.Calls.Clear();
        Bench.OpTee.OnInvoke = AsksForTheTime;
        vm.Driver.OnRpc = new RpcServices(vm.Driver).Serve;

        _ = vm.Driver.Call(OpTeeSmc.CallsUid, 0, 0, 0, 0, 0, 0, 0x77);
        _ = vm.Driver.Invoke(vm.Open(), 0, GuestParameter.ValueInOut(1, 2));
        _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0, 0, 0, 0, 0, 0, 0x77);

        Assert.That(Bench.OpTee.Calls, Is.Not.Empty);
        Assert.That(
            Bench.OpTee.Calls.Where(call => call.X0 is not (OpTeeSmc.VmCreated or OpTeeSmc.VmDestroyed)),
            Is.All.Matches<SmcRegisters>(call => call.X7 == (ulong)vm.Forwarder.VirtualMachineId));
    }

    [Test]
    public void Addresses_OfMessages_AreOfPagesThatNoGuestReaches()
    {
        ForwardedVm vm = Bench.Create();

        _ = vm.Open();

        SmcRegisters call = Bench.OpTee.Calls.Single(one => one.X0 == OpTeeSmc.CallWithRpcArgument);
        Assert.That(IsShadow(vm, call.Pair(1, 2)));
    }

    [TestCase(1)]
    [TestCase(511)]
    [TestCase(512)]
    [TestCase(1100)]
    public void Addresses_InPageLists_AreTranslated(int pages)
    {
        ForwardedVm vm = Bench.Create();
        ulong[] addresses = vm.Driver.AllocatePages(pages, 1);
        Random.Shared.Shuffle(addresses);

        GuestMessage answer =
            vm.Driver.Register(addresses, 0x123, ((ulong)pages * 4096) - 0x123, ForwarderBench.Cookie);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(vm.Partition.Memory.Single().Pages, Is.EqualTo(vm.PhysicalOf(addresses)));
        Assert.That(answer.Parameters[0].A % 4096, Is.EqualTo(0x123),
            "The guest's own list and offset stay as they were.");
    }

    [TestCase(true)]
    [TestCase(false)]
    public void Addresses_OfMemoryAllocatedByRpc_AreTranslated(bool hasRpcArgument)
    {
        ForwardedVm vm = Bench.Create();
        vm.Driver.Conduit = hasRpcArgument ? OpTeeSmc.CallWithRpcArgument : OpTeeSmc.CallWithArgument;
        RpcServices services = new(vm.Driver);
        vm.Driver.OnRpc = services.Serve;
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x3000);

        _ = vm.Driver.Invoke(vm.Open(), 0);

        Assert.That(vm.Partition.Memory.Single().Pages,
            Is.EqualTo(vm.PhysicalOf(services.Memory[RpcServices.FirstCookie])));
        Assert.That(vm.Status.SharedPages, Is.EqualTo(3));
    }

    [Test]
    public void Addresses_OfContiguousMemoryAllocatedByRpc_AreTranslated()
    {
        ForwardedVm vm = Bench.Create();
        ulong[] pages = vm.Driver.AllocatePages(40, 1); // more than a block
        vm.Driver.OnRpc = message => message with
        {
            ReturnCode = 0,
            Parameters =
                [GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, pages[0], 40 * 4096,
                    RpcServices.FirstCookie)],
        };
        Bench.OpTee.OnInvoke = thread => thread.Allocate(40 * 4096);

        _ = vm.Driver.Invoke(vm.Open(), 0);

        Assert.That(vm.Partition.Memory.Single().Pages, Is.EqualTo(vm.PhysicalOf(pages)));
    }

    [Test]
    public void Pins_OfRegisteredMemory_LastUntilOpTeeHasReleasedIt()
    {
        ForwardedVm vm = Bench.Create();
        int block = vm.Memory.BlockOf(vm.Share(ForwarderBench.Cookie, 2)[0]);
        Assert.That(vm.Memory.TryUnmap(block), Is.False, "It is shared.");
        Bench.OpTee.InterruptsCalls = true;
        SmcRegisters unregistering = vm.Start(
            new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory,
            GuestParameter.RegisteredIn(0, 0, ForwarderBench.Cookie)), out _);
        Assert.That(unregistering.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(vm.Memory.Pins, Is.EqualTo(1), "OP-TEE has not unregistered it yet.");

        SmcRegisters unregistered = vm.Resume(unregistering.X3);

        Assert.That(unregistered.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Memory.TryUnmap(block));
    }

    [Test]
    public void Pins_OfMemoryAllocatedByRpc_EndWithShmFree()
    {
        ForwardedVm vm = Bench.Create();
        vm.Driver.OnRpc = new RpcServices(vm.Driver).Serve;
        uint session = vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x2000);
        _ = vm.Driver.Invoke(session, 0);
        Assert.That(vm.Memory.Pins, Is.EqualTo(1));
        Bench.OpTee.OnInvoke = thread => thread.Free(thread.Partition.Memory[^1].Cookie);

        _ = vm.Driver.Invoke(session, 0);

        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Status.Buffers, Is.Zero);
    }

    [Test]
    public void Protocol_OfTheGuest_IsOpTeesOwn()
    {
        ForwardedVm vm = Bench.Create();

        Assert.That(First4(vm.Driver.Call(OpTeeSmc.CallsUid)),
            Is.EqualTo(new ulong[] { 0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b }));
        Assert.That(First4(vm.Driver.Call(OpTeeSmc.GetOsRevision)), Is.EqualTo(new ulong[] { 4, 5, 0, 0 }));
        Assert.That(First4(vm.Driver.Call(OpTeeSmc.CallsRevision)), Is.EqualTo(new ulong[] { 2, 0, 0, 0 }));
        Assert.That(vm.Driver.Call(OpTeeSmc.GetThreadCount).X1, Is.EqualTo(2),
            "OP-TEE has fewer threads than the VM may have calls.");
        Assert.That(vm.Driver.Call(OpTeeSmc.DisableShmCache).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
        Assert.That(vm.Driver.Call(OpTeeSmc.EnableShmCache).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    // 0xfd is what OP-TEE has: reserved memory, dynamic memory, virtualization, NULL, notifications, RPC_ARG, RPMB
    // probing.
    [TestCase(OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference
        | OpTeeCapabilities.RpcArgument, 0x54ul, 4ul)]
    [TestCase(OpTeeCapabilities.DynamicSharedMemory, 0x04ul, 0ul)]
    public void Protocol_Capabilities_AreFilteredByTheListOfThoseAllowed(OpTeeCapabilities allowed, ulong offered,
        ulong rpcParameters)
    {
        ForwardedVm vm = Bench.Create(options: new OpTeeForwarderOptions { Capabilities = allowed });

        Assert.That(First4(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities, 1)),
            Is.EqualTo(new ulong[] { 0, offered, 0, rpcParameters }));
    }

    [TestCase(OpTeeSmc.VmCreated)]
    [TestCase(OpTeeSmc.VmDestroyed)]
    [TestCase(0xb200_0055u)]
    [TestCase(OpTeeSmc.EnableAsyncNotification)]
    [TestCase(OpTeeSmc.GetAsyncNotificationValue)]
    public void Protocol_FastCallsThatAreNotForGuests_AreUnknown(uint functionId)
    {
        ForwardedVm vm = Bench.Create();
        int before = Bench.OpTee.Calls.Count;

        Assert.That(vm.Driver.Call(functionId, 1).X0, Is.EqualTo(OpTeeSmc.ReturnUnknownFunction));
        Assert.That(Bench.OpTee.Calls, Has.Count.EqualTo(before), "OP-TEE does not hear of it.");
    }

    [Test]
    public void Protocol_ReservedSharedMemory_IsNotShown() =>
        Assert.That(First4(Bench.Create().Driver.Call(OpTeeSmc.GetShmConfig)),
            Is.EqualTo(new ulong[] { OpTeeSmc.ReturnNotAvailable, 0, 0, 0 }));

    [Test]
    public void Protocol_LeftoversOfTheSecureWorld_AreZeroed()
    {
        ForwardedVm vm = Bench.Create();
        uint session = vm.Open();

        SmcRegisters done = vm.Start(ForwardedVm.Invocation(session), out _);
        Bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt];
        _ = vm.Start(ForwardedVm.Invocation(session), out _);
        SmcRegisters interrupted = vm.Start(ForwardedVm.Invocation(session), out _);
        Bench.OpTee.PartitionOf(vm.Forwarder.VirtualMachineId).Sessions.Clear();

        Assert.That(First4(done), Is.EqualTo(new ulong[] { 0, 0, 0, 0 }), "OP-TEE left 0xdead0003 in X3.");
        Assert.That(First4(interrupted)[1..3], Is.EqualTo(new ulong[] { 0, 0 }));
        Assert.That(First4(vm.Start(ForwardedVm.Invocation(session), out _)),
            Is.EqualTo(new ulong[] { OpTeeSmc.ReturnThreadLimit, 0, 0, 0 }));
    }

    [TestCase(OpTeeSmc.CallsCount, 1)]
    [TestCase(OpTeeSmc.CallsRevision, 2)]
    [TestCase(OpTeeSmc.GetOsRevision, 3)]
    [TestCase(OpTeeSmc.CallsUid, 4)]
    [TestCase(OpTeeSmc.EnableShmCache, 1)]
    [TestCase(OpTeeSmc.DisableShmCache, 1)]
    public void Protocol_LeftoversBesideResults_AreZeroed(uint functionId, int results)
    {
        bool isAsked = false;
        LittererOf monitor = new(Bench.OpTee, () => isAsked);
        PartitionedMemory memory = Bench.MemoryOf(0);
        OpTeeForwarder forwarder = new(new HostOpTee(monitor), memory, memory);
        SmcRegisters registers = default;
        registers.X0 = functionId;
        isAsked = true;

        _ = forwarder.Handle(ref registers);

        ulong[] all = [0, 0xabab_ab01, 0xabab_ab02, 0xabab_ab03];
        Assert.That(First4(registers), Is.EqualTo(all.Select((value, index) => index < results ? value : 0)));
    }

    [TestCase(OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.CallWithRpcArgument)]
    [TestCase(OpTeeSmc.CallWithRegisteredArgument)]
    public void Protocol_RpcsAndResults_ReachTheGuestByEveryCall(uint conduit)
    {
        ForwardedVm vm = Bench.Create();
        vm.Driver.Conduit = conduit == OpTeeSmc.CallWithArgument ? conduit : OpTeeSmc.CallWithRpcArgument;
        uint session = vm.Open();
        vm.Share(ForwarderBench.Cookie, 1);
        if (conduit == OpTeeSmc.CallWithRegisteredArgument)
        {
            Assert.That(vm.Driver.RegisterMessagePage(), Is.Zero);
        }

        vm.Driver.OnRpc = new RpcServices(vm.Driver).Serve;
        Bench.OpTee.OnInvoke = AsksAndAnswers;

        GuestMessage answer = vm.Driver.Invoke(
            session, 7, GuestParameter.ValueInOut(1, 2), GuestParameter.RegisteredOut(8, 0x100, ForwarderBench.Cookie),
                GuestParameter.ValueIn(5, 6), GuestParameter.None);

        Assert.That(answer.ReturnCode, Is.EqualTo(0xffff_0010));
        Assert.That(answer.ReturnOrigin, Is.EqualTo((uint)TeeOrigin.TrustedApplication));
        Assert.That(answer.Parameters[0], Is.EqualTo(GuestParameter.ValueInOut(1_000_000_000, 7)));
        Assert.That(answer.Parameters[1], Is.EqualTo(GuestParameter.RegisteredOut(8, 0x200, ForwarderBench.Cookie)));
        Assert.That(answer.Parameters[2], Is.EqualTo(GuestParameter.ValueIn(5, 6)), "An input is the guest's.");
        Assert.That(vm.Driver.RpcMemory, Is.Empty, "What was allocated for messages was given back.");
    }

    private static IEnumerable<RpcStep> AsksAndAnswers(FakeThread thread)
    {
        yield return RpcStep.ForeignInterrupt;
        foreach (RpcStep step in thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut()))
        {
            yield return step;
        }

        thread.Parameters[0] = GuestParameter.ValueInOut(thread.RpcResults[0].A, thread.MessageHeader[1]);
        thread.Parameters[1] = thread.Parameters[1] with { A = 0xbad, B = 0x200 };
        thread.Parameters[2] = default;
        thread.MessageHeader[5] = 0xffff_0010;
    }

    private static bool IsShadow(ForwardedVm vm, ulong physical) =>
        Enumerable.Range(0, vm.Memory.ShadowPages).Any(page =>
    {
        _ = vm.Memory.GetShadowPage(page, out PhysicalAddress address);
        return address.Value == physical;
    });

    private static ulong[] First4(SmcRegisters registers) => [registers.X0, registers.X1, registers.X2, registers.X3];

    /// <summary>Leaves something in every register that a call may change.</summary>
    private sealed class LittererOf(FakeOpTee opTee, Func<bool> litters) : ISecureMonitor
    {
        public void MakeCall(ref SmcRegisters registers)
        {
            if (!litters())
            {
                opTee.MakeCall(ref registers);
                return;
            }

            registers.X0 = 0xdead_0000_0000_0000;
            registers.X1 = 0xdead_abab_ab01;
            registers.X2 = 0xdead_abab_ab02;
            registers.X3 = 0xdead_abab_ab03;
        }
    }
}
