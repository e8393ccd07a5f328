using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Guests that lie: refused with OP-TEE's own answers, and nothing of theirs reaches OP-TEE unchecked.</summary>
internal sealed class HostileGuestTests
{
    private const uint BadParameters = FakeOpTee.BadParameters;
    private const ulong OtherCookie = 0xffff_0000_0938_5b40;

    private ForwarderBench _bench = null!;
    private ForwardedVm _vm = null!;

    [SetUp]
    public void CreateBench()
    {
        _bench = new ForwarderBench();
        _vm = _bench.Create();
    }

    private int YieldingCalls => _bench.OpTee.Calls.Count(call => !call.FunctionId.IsFast);

    [Test]
    public void PageList_WithPhysicalAddressesOfAnotherVm_IsRefused()
    {
        ForwardedVm other = _bench.Create(1);
        ulong target = other.Memory.PhysicalOf(other.Driver.AllocatePage());

        Assert.That(_vm.Driver.Register([_vm.Driver.AllocatePage(), target], 0, 0x2000, ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Status, Is.EqualTo(default(OpTeeGuestStatus)));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [Test]
    public void PageList_OfShadowPages_IsRefused()
    {
        _ = _vm.Memory.GetShadowPage(0, out var shadow);

        Assert.That(_vm.Driver.Register([shadow.Value], 0, 0x1000, ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [TestCase(ForwarderBench.GuestStart - 0x1000)]
    [TestCase(ForwarderBench.GuestStart + 8)]
    [TestCase(0xffff_ffff_ffff_f000)]
    public void PageList_OfBadPages_IsRefused(ulong page)
    {
        Assert.That(_vm.Driver.Register([page], 0, 0x1000, ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Driver.Register([_vm.Driver.AllocatePage(), page], 0, 0x2000, ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void PageList_RewrittenDuringTheCall_IsNotReadAgain()
    {
        ulong[] pages = _vm.Driver.AllocatePages(3, 2);
        ulong list = _vm.Driver.WritePageList(pages);
        _bench.OpTee.OnCall = _ => _vm.Driver.Write<ulong>(list, [0, 0, 0]);
        _bench.OpTee.InterruptsCalls = true;

        uint answer = _vm.Driver.TrySend(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 0x3000, ForwarderBench.Cookie)));

        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_vm.Partition.Memory.Single().Pages, Is.EqualTo(_vm.PhysicalOf(pages)));
    }

    [Test]
    public void PageList_OfAnInterruptedCall_IsNoOtherCallsMeanwhile()
    {
        ulong[] pages = _vm.Driver.AllocatePages(3, 2);
        ulong list = _vm.Driver.WritePageList(pages);
        _bench.OpTee.InterruptsCalls = true;
        SmcRegisters first = _vm.Start(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 0x3000, ForwarderBench.Cookie)), out _);

        Assert.That(_vm.Driver.Register(_vm.Driver.AllocatePages(3, 2), 0, 0x3000, OtherCookie).ReturnCode, Is.Zero);
        Assert.That(_vm.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_vm.Partition.Memory[0].Pages, Is.EqualTo(_vm.PhysicalOf(pages)));
    }

    [Test]
    public void Message_RewrittenDuringTheCall_IsNotReadAgain()
    {
        ulong[] pages = _vm.Share(ForwarderBench.Cookie, 1);
        uint session = _vm.Open();
        _bench.OpTee.InterruptsCalls = true;
        ulong[] seen = [];
        _bench.OpTee.OnInvoke = thread =>
        {
            seen = [thread.Parameters[0].Attributes, thread.Partition.Find(thread.Parameters[0].C)![0], thread.MessageHeader[2]];
            return [];
        };
        SmcRegisters interrupted = _vm.Start(ForwardedVm.Invocation(session, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)), out ulong page);
        _vm.Driver.WriteMessage(page, ForwardedVm.Invocation(99, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, pages[0], 1, OtherCookie)));

        Assert.That(_vm.Resume(interrupted.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(seen, Is.EqualTo(new ulong[] { OpTeeMessage.TypeRegisteredInput, _vm.Memory.PhysicalOf(pages[0]), session }));
        Assert.That(_vm.Driver.ReadMessage(page, 1).Parameters[0].C, Is.EqualTo(OtherCookie), "Only outputs are written.");
    }

    [TestCase(OpTeeMessage.TypeTemporaryInput)]
    [TestCase(OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous)]
    [TestCase(OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta)]
    [TestCase(0x4u)]
    [TestCase(0x8u)]
    [TestCase(0x1_0000_0009u)]
    public void Parameter_OfAnyOtherKind_IsRefused(ulong attributes)
    {
        uint session = _vm.Open();
        _ = _vm.Share(ForwarderBench.Cookie, 1);
        int before = YieldingCalls;

        GuestMessage answer = _vm.Driver.Invoke(session, 0, new GuestParameter(attributes, 0x4200_0000, 0x1000, ForwarderBench.Cookie));

        Assert.That(answer.ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(answer.ReturnOrigin, Is.EqualTo(3), "origin TEE, as OP-TEE answers");
        Assert.That(YieldingCalls, Is.EqualTo(before));
    }

    [Test]
    public void Parameter_Null_ReachesOpTee() =>
        Assert.That(_vm.Driver.Invoke(_vm.Open(), 0, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, 0, 0x10, 0)).ReturnCode, Is.Zero);

    [TestCase(OpTeeMessage.CommandLendProtectedMemory)]
    [TestCase(OpTeeMessage.CommandReclaimProtectedMemory)]
    [TestCase(OpTeeMessage.CommandGetProtectedMemoryConfig)]
    [TestCase(OpTeeMessage.CommandAssignProtectedMemory)]
    [TestCase(12u)]
    [TestCase(0xffff_ffffu)]
    public void MessageCommand_Unknown_IsRefusedWithoutOpTee(uint command)
    {
        Assert.That(_vm.Driver.TrySend(new GuestMessage(command)), Is.EqualTo(OpTeeSmc.ReturnBadCommand));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [TestCase(0ul)]
    [TestCase(ForwarderBench.GuestStart + 8)]
    [TestCase(0x4200_0000ul)]
    [TestCase(0x5000_0000ul)]
    [TestCase(0xffff_ffff_ffff_f000)]
    public void MessageAddress_Bad_IsRefused(ulong address)
    {
        Assert.That(_vm.Driver.Call(OpTeeSmc.CallWithArgument, address >> 32, address).X0, Is.EqualTo(OpTeeSmc.ReturnBadAddress));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [Test]
    public void Cookie_Zero_IsRefused()
    {
        // OP-TEE maps messages and page lists with cookie 0: a guest that had such a buffer would reach what only the mediator may write.
        Assert.That(_vm.Driver.Register([_vm.Driver.AllocatePage()], 0, 0x1000, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Driver.Invoke(_vm.Open(), 0, GuestParameter.RegisteredInOut(0, 8, 0)).ReturnCode, Is.EqualTo(BadParameters));
    }

    [Test]
    public void Cookie_UsedTwice_IsRefusedAndMeansTheFirst()
    {
        ulong[] pages = _vm.Share(ForwarderBench.Cookie, 1);

        Assert.That(_vm.Driver.Register([_vm.Driver.AllocatePage()], 0, 0x1000, ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Partition.Memory.Single().Pages, Is.EqualTo(_vm.PhysicalOf(pages)));
        Assert.That(_vm.Memory.Pins, Is.EqualTo(1));
    }

    [Test]
    public void Cookie_OfAnotherVm_IsUnknown()
    {
        ForwardedVm other = _bench.Create(1);
        _ = _vm.Share(ForwarderBench.Cookie, 1);
        uint session = other.Open();

        Assert.That(other.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(other.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Memory.Pins, Is.EqualTo(1));
        Assert.That(_vm.Partition.Memory.Single().Pages, Is.Not.Null);
    }

    [Test]
    public void Session_OfAnotherVm_IsUnknown()
    {
        ForwardedVm other = _bench.Create(1);
        _ = _vm.Open();
        uint session = _vm.Open();

        Assert.That(other.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(other.Driver.CloseSession(session).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
    }

    [Test]
    public void Cookie_OfMemoryAllocatedByRpc_IsOnlyOpTees()
    {
        _vm.Driver.OnRpc = new RpcServices(_vm.Driver).Serve;
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        _ = _vm.Driver.Invoke(session, 0);

        // OP-TEE would find it, and keep it mapped beyond SHM_FREE; it would not let it be unregistered.
        Assert.That(_vm.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, RpcServices.FirstCookie)).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Driver.Unregister(RpcServices.FirstCookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Memory.Pins, Is.EqualTo(1));
    }

    [Test]
    public void Cookie_OfRpcMessages_IsOnlyOpTees()
    {
        _vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        _vm.Driver.OnRpc = new RpcServices(_vm.Driver).Serve;
        _ = _vm.Driver.Call(OpTeeSmc.EnableShmCache);
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        _ = _vm.Driver.Invoke(session, 0);
        ulong cookie = _vm.Driver.RpcMemory.Keys.Single();

        // It names a shadow page there.
        Assert.That(_vm.Driver.Invoke(session, 0, GuestParameter.RegisteredInOut(0, 8, cookie)).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Driver.Unregister(cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(_vm.Driver.Call(OpTeeSmc.CallWithRegisteredArgument, cookie >> 32, cookie).X0, Is.EqualTo(OpTeeSmc.ReturnBadAddress));
    }

    [Test]
    public void RegisterShm_CookieThatRpcFreeNames_ReturnsSuccess()
    {
        // OP-TEE asks to free the buffer, and only then unmaps it. The new buffer has another cookie there.
        _vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        _vm.Driver.OnRpc = new RpcServices(_vm.Driver).Serve;
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = AskAndFree;
        ulong page = _vm.Driver.AllocatePage();
        ulong other = _vm.Driver.AllocatePage();
        _vm.Driver.WriteMessage(page, ForwardedVm.Invocation(session));
        SmcRegisters allocate = _vm.Driver.Call(OpTeeSmc.CallWithArgument, page >> 32, page);
        SmcRegisters free = _vm.Driver.Step(_vm.Driver.Step(allocate));
        Assert.That(free.X0, Is.EqualTo(OpTeeSmc.ReturnRpcFree));
        ulong cookie = free.Pair(1, 2);

        Assert.That(_vm.Driver.Register([other], 0, 0x1000, cookie).ReturnCode, Is.Zero);
        Assert.That(_vm.Partition.Memory[0].Pages, Is.EqualTo(_vm.PhysicalOf([other])));
        SmcRegisters interrupted = _vm.Driver.Step(free);
        Assert.That(interrupted.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(_vm.Resume(interrupted.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_vm.Status.Buffers, Is.EqualTo(1));
        Assert.That(_vm.Driver.Unregister(cookie).ReturnCode, Is.Zero);
        Assert.That(_vm.Memory.Pins, Is.Zero);

        static IEnumerable<RpcStep> AskAndFree(FakeThread thread)
        {
            foreach (RpcStep step in thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut()))
            {
                yield return step;
            }

            ulong freed = thread.RpcCookie!.Value;
            yield return new RpcStep(OpTeeSmc.ReturnRpcFree, freed);
            yield return RpcStep.ForeignInterrupt;
            thread.RpcCookie = null;
            _ = thread.Partition.Memory.RemoveAll(one => one.Cookie == freed && one.IsGuarded);
        }
    }

    [Test]
    public void RpcAllocation_CookieOfARegisteredBuffer_IsUsed()
    {
        // U-Boot registers the page first, under the cookie by which it then answers RPC ALLOC.
        _vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        ulong page = _vm.Driver.AllocatePage();
        ulong buffer = _vm.Driver.AllocatePage();
        _vm.Driver.WriteMessage(page, ForwardedVm.Invocation(session));
        SmcRegisters allocate = _vm.Driver.Call(OpTeeSmc.CallWithArgument, page >> 32, page);
        Assert.That(allocate.X0, Is.EqualTo(OpTeeSmc.ReturnRpcAllocate));
        Assert.That(_vm.Driver.Register([buffer], 0, 0x1000, ForwarderBench.Cookie).ReturnCode, Is.Zero);

        SmcRegisters command = _vm.Driver.Call(
            OpTeeSmc.ReturnFromRpc, buffer >> 32, buffer, allocate.X3, ForwarderBench.Cookie >> 32, ForwarderBench.Cookie & uint.MaxValue);

        Assert.That(command.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand));
        Assert.That(command.Pair(1, 2), Is.EqualTo(ForwarderBench.Cookie));
        Assert.That(_vm.Driver.ReadMessage(buffer, 1).Command, Is.EqualTo(OpTeeRpc.GetTime));
        SmcRegisters free = _vm.Resume(command.X3);
        Assert.That(free.X0, Is.EqualTo(OpTeeSmc.ReturnRpcFree));
        Assert.That(free.Pair(1, 2), Is.EqualTo(ForwarderBench.Cookie));
        Assert.That(_vm.Resume(free.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_vm.Driver.Invoke(session, 1, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)).ReturnCode, Is.Zero, "It is still registered.");
        Assert.That(_vm.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.Zero);
        Assert.That(_vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RegisterShm_CookieOfMemoryAllocatedByRpc_ReturnsSuccess()
    {
        _vm.Driver.OnRpc = new RpcServices(_vm.Driver).Serve;
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        _ = _vm.Driver.Invoke(session, 0);
        ulong page = _vm.Driver.AllocatePage();

        Assert.That(_vm.Driver.Register([page], 0, 0x1000, RpcServices.FirstCookie).ReturnCode, Is.Zero);

        ulong[] found = [];
        _bench.OpTee.OnInvoke = thread =>
        {
            found = thread.Partition.Find(thread.Parameters[0].C)!;
            return [];
        };
        Assert.That(_vm.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, RpcServices.FirstCookie)).ReturnCode, Is.Zero);
        Assert.That(found, Is.EqualTo(_vm.PhysicalOf([page])), "The registered buffer is meant, not OP-TEE's own memory.");
        Assert.That(_vm.Memory.Pins, Is.EqualTo(2));
    }

    [Test]
    public void RegisterShm_CookieOfAnUnregisteredBufferThatACallNames_ReturnsSuccess()
    {
        uint session = _vm.Open();
        _ = _vm.Share(ForwarderBench.Cookie, 1);
        ulong named = 0;
        _bench.OpTee.OnInvoke = Look;
        SmcRegisters call = _vm.Start(ForwardedVm.Invocation(session, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)), out _);
        Assert.That(_vm.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.Zero, "The fake, unlike OP-TEE, does not wait for the call.");

        Assert.That(_vm.Driver.Register([_vm.Driver.AllocatePage()], 0, 0x1000, ForwarderBench.Cookie).ReturnCode, Is.Zero);
        _ = _vm.Resume(call.X3);
        Assert.That(named, Is.Zero, "The call does not find the new buffer.");

        IEnumerable<RpcStep> Look(FakeThread thread)
        {
            yield return RpcStep.ForeignInterrupt;
            named = thread.Partition.Find(thread.Parameters[0].C)?[0] ?? 0;
        }
    }

    [Test]
    public void DisableShmCache_CachedBuffer_NamesTheGuestsCookie()
    {
        _vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        _vm.Driver.OnRpc = new RpcServices(_vm.Driver).Serve;
        _ = _vm.Driver.Call(OpTeeSmc.EnableShmCache);
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        _ = _vm.Driver.Invoke(session, 0);

        SmcRegisters first = _vm.Driver.Call(OpTeeSmc.DisableShmCache);
        SmcRegisters second = _vm.Driver.Call(OpTeeSmc.DisableShmCache);

        Assert.That(first.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(first.Pair(1, 2), Is.EqualTo(_vm.Driver.RpcMemory.Keys.Single()));
        Assert.That(second.X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
        Assert.That(_vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMessage_CookiesInIt_AreTheGuestsOwn()
    {
        uint session = _vm.Open();
        _ = _vm.Share(ForwarderBench.Cookie, 1);
        _bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.FileSystem, GuestParameter.RegisteredOut(4, 5, thread.Parameters[0].C), GuestParameter.RegisteredIn(0, 0, 6));
        GuestMessage asked = default!;
        _vm.Driver.OnRpc = message => asked = message;

        _ = _vm.Driver.Invoke(session, 0, GuestParameter.RegisteredOut(0, 1, ForwarderBench.Cookie));

        Assert.That(asked.Parameters, Is.EqualTo(new[] { GuestParameter.RegisteredOut(4, 5, ForwarderBench.Cookie), GuestParameter.RegisteredIn(0, 0, 0) }));
    }

    [TestCase(0u)]
    [TestCase(1u)]
    [TestCase(2u)]
    [TestCase(0xffu)]
    [TestCase(0x100u)]
    [TestCase(0x101u)]
    [TestCase(0x200u)]
    [TestCase(0xffff_ffffu)]
    public void ResumeInformation_Bogus_IsRefusedWithoutOpTee(uint information)
    {
        Assert.That(_vm.Resume(information).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [Test]
    public void ResumeInformation_UsedTwiceOrOfAnotherVm_IsRefused()
    {
        ForwardedVm other = _bench.Create(1);
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt, RpcStep.ForeignInterrupt];
        SmcRegisters first = _vm.Start(ForwardedVm.Invocation(session), out _);

        Assert.That(other.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        SmcRegisters second = _vm.Resume(first.X3);
        Assert.That(second.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(_vm.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(_vm.Resume(second.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void Resume_OnlyLowHalfOfX3_Counts()
    {
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt];
        SmcRegisters call = _vm.Start(ForwardedVm.Invocation(session), out _);

        Assert.That(_vm.Resume(call.X3 | 0xffff_ffff_0000_0000).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void RpcMessage_RewrittenByTheGuest_OnlyItsOutputsCount()
    {
        uint session = _vm.Open();
        GuestParameter[] seen = [];
        uint command = 0;
        _bench.OpTee.OnInvoke = Ask;
        _vm.Driver.OnRpc = message => new GuestMessage(OpTeeRpc.AllocateSharedMemory, [.. message.Parameters.Select((_, index) => new GuestParameter((ulong)(0x20a + index), 11, 22, 33))]) { ReturnCode = 0 };

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(seen, Is.EqualTo(new[] { GuestParameter.ValueIn(1, 2), new GuestParameter(OpTeeMessage.TypeValueOutput, 11, 22, 33), GuestParameter.RegisteredOut(4, 22, 6) }));
        Assert.That(_vm.Status.Buffers, Is.Zero);
        Assert.That(command, Is.EqualTo(OpTeeRpc.FileSystem));

        IEnumerable<RpcStep> Ask(FakeThread thread)
        {
            foreach (RpcStep step in thread.Ask(OpTeeRpc.FileSystem, GuestParameter.ValueIn(1, 2), GuestParameter.ValueOut(), GuestParameter.RegisteredOut(4, 5, 6)))
            {
                yield return step;
            }

            seen = thread.RpcResults[..3].ToArray();
            command = thread.RpcCommand;
        }
    }

    [TestCase(0x20aul, 0x1000ul, "Its page list has no address.")]
    [TestCase(0x20aul, 0ul, "no bytes")]
    [TestCase(0x20aul, 0xffff_ffff_ffff_fffful, "size wraps")]
    [TestCase(0xaul, 0x1000ul, "not guest memory")]
    [TestCase(0x6ul, 0x1000ul, "not a kind of memory that is allocated")]
    public void RpcMemory_ThatCannotBeUsed_IsGivenBackToTheGuest(ulong attributes, ulong size, string why)
    {
        uint session = _vm.Open();
        List<GuestMessage> asked = [];
        _bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        _vm.Driver.OnRpc = message =>
        {
            asked.Add(message);
            return message.Command == OpTeeRpc.AllocateSharedMemory
                ? message with { ReturnCode = 0, Parameters = [new GuestParameter(attributes, 0x1000, size, OtherCookie)] }
                : message with { ReturnCode = 0 };
        };

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(asked[^1].Command, Is.EqualTo(OpTeeRpc.FreeSharedMemory), why);
        Assert.That(asked[^1].Parameters[0].B, Is.EqualTo(OtherCookie));
        Assert.That(_vm.Status.Buffers, Is.Zero);
        Assert.That(_vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMemory_TooSmall_IsGivenBackToTheGuest()
    {
        // OP-TEE itself would take no notice of it, and never have it freed.
        uint session = _vm.Open();
        bool isFreed = false;
        _bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        ulong list = _vm.Driver.WritePageList([_vm.Driver.AllocatePage()]);
        _vm.Driver.OnRpc = message =>
        {
            isFreed |= message.Command == OpTeeRpc.FreeSharedMemory;
            return message.Command == OpTeeRpc.AllocateSharedMemory
                ? message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(list, 0x800, OtherCookie)] }
                : message with { ReturnCode = 0 };
        };

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(isFreed);
        Assert.That(_vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMemory_WithTheCookieOfTheRpcMessages_IsGivenBackAndTheMessagesAreFreed()
    {
        _vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        _vm.Driver.OnRpc = message => message.Command == OpTeeRpc.AllocateSharedMemory
            ? message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(0x1000, 0, _vm.Driver.RpcMemory.Keys.Single())] }
            : message with { ReturnCode = 0 };

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(_vm.Driver.RpcMemory, Is.Empty);
        Assert.That(_vm.Status.Buffers, Is.Zero);
        Assert.That(_vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMemory_WithTheCookieOfARegisteredBuffer_IsUsedAndTheBufferStays()
    {
        uint session = _vm.Open();
        _ = _vm.Share(ForwarderBench.Cookie, 1);
        ulong freed = 0;
        _bench.OpTee.OnInvoke = AllocateAndFree;
        ulong page = _vm.Driver.AllocatePage();
        ulong list = _vm.Driver.WritePageList([page]);
        ulong[] used = [];
        _vm.Driver.OnRpc = message =>
        {
            freed = message.Command == OpTeeRpc.FreeSharedMemory ? message.Parameters[0].B : freed;
            return message.Command == OpTeeRpc.AllocateSharedMemory
                ? message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(list, 0x1000, ForwarderBench.Cookie)] }
                : message with { ReturnCode = 0 };
        };

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(used, Is.EqualTo(_vm.PhysicalOf([page])));
        Assert.That(freed, Is.EqualTo(ForwarderBench.Cookie));
        Assert.That(_vm.Memory.Pins, Is.EqualTo(1), "The registered buffer is still shared.");
        Assert.That(_vm.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.Zero);
        Assert.That(_vm.Memory.Pins, Is.Zero);

        IEnumerable<RpcStep> AllocateAndFree(FakeThread thread)
        {
            foreach (RpcStep step in thread.Allocate(0x1000))
            {
                yield return step;
            }

            (ulong cookie, used, _) = thread.Partition.Memory[0];
            foreach (RpcStep step in thread.Free(cookie))
            {
                yield return step;
            }
        }
    }

    [Test]
    public void RpcMemory_WithTheCookieOfOtherRpcMemory_IsUsedBeside()
    {
        uint session = _vm.Open();
        _bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000).Concat(thread.Allocate(0x1000));
        ulong list = _vm.Driver.WritePageList([_vm.Driver.AllocatePage()]);
        _vm.Driver.OnRpc = message => message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(list, 0x1000, OtherCookie)] };
        _ = _vm.Driver.Invoke(session, 0);
        Assert.That(_vm.Partition.Memory, Has.Count.EqualTo(2));
        Assert.That(_vm.Memory.Pins, Is.EqualTo(2));
        List<ulong> freed = [];
        _vm.Driver.OnRpc = message =>
        {
            freed.Add(message.Parameters[0].B);
            return message with { ReturnCode = 0 };
        };
        _bench.OpTee.OnInvoke = thread => thread.Free(thread.Partition.Memory[^1].Cookie).Concat(thread.Free(thread.Partition.Memory[^1].Cookie));

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(freed, Is.EqualTo(new[] { OtherCookie, OtherCookie }));
        Assert.That(_vm.Memory.Pins, Is.Zero);
    }

    [TestCase(0x1000ul, OtherCookie, true, "no guest memory")]
    [TestCase(ForwarderBench.GuestStart + 4, OtherCookie, true, "not aligned")]
    [TestCase(ForwarderBench.GuestStart, 0ul, false, "no cookie")]
    [TestCase(0ul, OtherCookie, false, "no memory")]
    public void RpcMessageMemory_ThatCannotBeUsed_IsGivenBackToTheGuest(ulong address, ulong cookie, bool isFreed, string why)
    {
        _vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        uint session = _vm.Open();
        _ = _vm.Share(ForwarderBench.Cookie, 1);
        _bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        ulong page = _vm.Driver.AllocatePage();
        _vm.Driver.WriteMessage(page, ForwardedVm.Invocation(session));
        SmcRegisters allocate = _vm.Driver.Call(OpTeeSmc.CallWithArgument, 0, page);
        Assert.That(allocate.X0, Is.EqualTo(OpTeeSmc.ReturnRpcAllocate));

        SmcRegisters next = _vm.Driver.Call(OpTeeSmc.ReturnFromRpc, address >> 32, address, allocate.X3, cookie >> 32, cookie);

        Assert.That(next.X0, Is.EqualTo(isFreed ? OpTeeSmc.ReturnRpcFree : OpTeeSmc.ReturnOk), why);
        Assert.That(_bench.OpTee.Calls[^1].Pair(1, 2), Is.EqualTo(1), "No address that OP-TEE could take for memory.");
        Assert.That(next.Pair(1, 2), Is.EqualTo(isFreed ? cookie : 0));
        Assert.That(_vm.Status.Buffers, Is.EqualTo(1), "What was registered before.");
        Assert.That(_vm.Memory.Pins, Is.EqualTo(1));
    }

    [Test]
    public void RpcMessage_PhysicalAddressesInIt_AreNotShown()
    {
        uint session = _vm.Open();
        ulong shown = 1;
        _bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.Rpmb, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, 0x4200_0000, 8, 7));
        _vm.Driver.OnRpc = message =>
        {
            shown = message.Parameters[0].A;
            return message;
        };

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(shown, Is.Zero);
    }

    [Test]
    public void Limits_OfSharedPages_AreTheOptions()
    {
        ForwardedVm small = _bench.Create(1, new() { Limits = new OpTeeLimits { PagesPerBuffer = 128, Pages = 130, Buffers = 2 } });

        Assert.That(small.Driver.Register(small.Driver.AllocatePages(129, 1), 0, 129 * 4096, 1).ReturnCode, Is.EqualTo(0xffff_000c), "too large");
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(128, 1), 0, 128 * 4096, 2).ReturnCode, Is.Zero);
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(3, 1), 0, 3 * 4096, 3).ReturnCode, Is.EqualTo(0xffff_000c), "too many pages");
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(1, 1), 0, 4096, 4).ReturnCode, Is.Zero);
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(1, 1), 0, 4096, 5).ReturnCode, Is.EqualTo(0xffff_000c), "too many buffers");
    }

    [Test]
    public void Limits_OfSessions_AreTheOptions()
    {
        ForwardedVm small = _bench.Create(1, new() { Limits = new OpTeeLimits { Sessions = 1 } });
        uint session = small.Open();

        Assert.That(small.Driver.OpenSession(ForwarderBench.Application).ReturnCode, Is.EqualTo(0xffff_000c));
        _ = small.Driver.CloseSession(session);
        Assert.That(small.Driver.OpenSession(ForwarderBench.Application).ReturnCode, Is.Zero);
    }
}
