using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Guests that use a cookie twice, or one of another VM or of OP-TEE.</summary>
internal sealed class HostileCookieTests : ForwarderFixture
{
    [Test]
    public void Cookie_Zero_IsRefused()
    {
        // OP-TEE maps messages and page lists with cookie 0: a guest that had such a buffer would reach what only the
        // mediator may write.
        Assert.That(Vm.Driver.Register([Vm.Driver.AllocatePage()], 0, 0x1000, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(Vm.Driver.Invoke(Vm.Open(), 0, GuestParameter.RegisteredInOut(0, 8, 0)).ReturnCode,
            Is.EqualTo(BadParameters));
    }

    [Test]
    public void Cookie_UsedTwice_IsRefusedAndMeansTheFirst()
    {
        ulong[] pages = Vm.Share(ForwarderBench.Cookie, 1);

        Assert.That(Vm.Driver.Register([Vm.Driver.AllocatePage()], 0, 0x1000, ForwarderBench.Cookie).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(Vm.Partition.Memory.Single().Pages, Is.EqualTo(Vm.PhysicalOf(pages)));
        Assert.That(Vm.Memory.Pins, Is.EqualTo(1));
    }

    [Test]
    public void Cookie_OfAnotherVm_IsUnknown()
    {
        ForwardedVm other = Bench.Create(1);
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        uint session = other.Open();

        Assert.That(
            other.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(other.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(Vm.Memory.Pins, Is.EqualTo(1));
        Assert.That(Vm.Partition.Memory.Single().Pages, Is.Not.Null);
    }

    [Test]
    public void Cookie_OfMemoryAllocatedByRpc_IsOnlyOpTees()
    {
        Vm.Driver.OnRpc = new RpcServices(Vm.Driver).Serve;
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        _ = Vm.Driver.Invoke(session, 0);

        // OP-TEE would find it, and keep it mapped beyond SHM_FREE; it would not let it be unregistered.
        Assert.That(Vm.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, RpcServices.FirstCookie)).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(Vm.Driver.Unregister(RpcServices.FirstCookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(Vm.Memory.Pins, Is.EqualTo(1));
    }

    [Test]
    public void Cookie_OfRpcMessages_IsOnlyOpTees()
    {
        Vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        Vm.Driver.OnRpc = new RpcServices(Vm.Driver).Serve;
        _ = Vm.Driver.Call(OpTeeSmc.EnableShmCache);
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        _ = Vm.Driver.Invoke(session, 0);
        ulong cookie = Vm.Driver.RpcMemory.Keys.Single();

        // It names a shadow page there.
        Assert.That(Vm.Driver.Invoke(session, 0, GuestParameter.RegisteredInOut(0, 8, cookie)).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(Vm.Driver.Unregister(cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(Vm.Driver.Call(OpTeeSmc.CallWithRegisteredArgument, cookie >> 32, cookie).X0,
            Is.EqualTo(OpTeeSmc.ReturnBadAddress));
    }

    [Test]
    public void RegisterShm_CookieThatRpcFreeNames_ReturnsSuccess()
    {
        // OP-TEE asks to free the buffer, and only then unmaps it. The new buffer has another cookie there.
        Vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        Vm.Driver.OnRpc = new RpcServices(Vm.Driver).Serve;
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = AskAndFree;
        ulong page = Vm.Driver.AllocatePage();
        ulong other = Vm.Driver.AllocatePage();
        Vm.Driver.WriteMessage(page, ForwardedVm.Invocation(session));
        SmcRegisters allocate = Vm.Driver.Call(OpTeeSmc.CallWithArgument, page >> 32, page);
        SmcRegisters free = Vm.Driver.Step(Vm.Driver.Step(allocate));
        Assert.That(free.X0, Is.EqualTo(OpTeeSmc.ReturnRpcFree));
        ulong cookie = free.Pair(1, 2);

        Assert.That(Vm.Driver.Register([other], 0, 0x1000, cookie).ReturnCode, Is.Zero);
        Assert.That(Vm.Partition.Memory[0].Pages, Is.EqualTo(Vm.PhysicalOf([other])));
        SmcRegisters interrupted = Vm.Driver.Step(free);
        Assert.That(interrupted.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(Vm.Resume(interrupted.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(Vm.Status.Buffers, Is.EqualTo(1));
        Assert.That(Vm.Driver.Unregister(cookie).ReturnCode, Is.Zero);
        Assert.That(Vm.Memory.Pins, Is.Zero);

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
        Vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        ulong page = Vm.Driver.AllocatePage();
        ulong buffer = Vm.Driver.AllocatePage();
        Vm.Driver.WriteMessage(page, ForwardedVm.Invocation(session));
        SmcRegisters allocate = Vm.Driver.Call(OpTeeSmc.CallWithArgument, page >> 32, page);
        Assert.That(allocate.X0, Is.EqualTo(OpTeeSmc.ReturnRpcAllocate));
        Assert.That(Vm.Driver.Register([buffer], 0, 0x1000, ForwarderBench.Cookie).ReturnCode, Is.Zero);

        SmcRegisters command = Vm.Driver.Call(
            OpTeeSmc.ReturnFromRpc, buffer >> 32, buffer, allocate.X3, ForwarderBench.Cookie >> 32,
                ForwarderBench.Cookie & uint.MaxValue);

        Assert.That(command.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand));
        Assert.That(command.Pair(1, 2), Is.EqualTo(ForwarderBench.Cookie));
        Assert.That(Vm.Driver.ReadMessage(buffer, 1).Command, Is.EqualTo(OpTeeRpc.GetTime));
        SmcRegisters free = Vm.Resume(command.X3);
        Assert.That(free.X0, Is.EqualTo(OpTeeSmc.ReturnRpcFree));
        Assert.That(free.Pair(1, 2), Is.EqualTo(ForwarderBench.Cookie));
        Assert.That(Vm.Resume(free.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(Vm.Driver.Invoke(session, 1, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)).ReturnCode,
            Is.Zero, "It is still registered.");
        Assert.That(Vm.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.Zero);
        Assert.That(Vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RegisterShm_CookieOfMemoryAllocatedByRpc_ReturnsSuccess()
    {
        Vm.Driver.OnRpc = new RpcServices(Vm.Driver).Serve;
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        _ = Vm.Driver.Invoke(session, 0);
        ulong page = Vm.Driver.AllocatePage();

        Assert.That(Vm.Driver.Register([page], 0, 0x1000, RpcServices.FirstCookie).ReturnCode, Is.Zero);

        ulong[] found = [];
        Bench.OpTee.OnInvoke = thread =>
        {
            found = thread.Partition.Find(thread.Parameters[0].C)!;
            return [];
        };
        Assert.That(Vm.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, RpcServices.FirstCookie)).ReturnCode,
            Is.Zero);
        Assert.That(found, Is.EqualTo(Vm.PhysicalOf([page])),
            "The registered buffer is meant, not OP-TEE's own memory.");
        Assert.That(Vm.Memory.Pins, Is.EqualTo(2));
    }

    [Test]
    public void RegisterShm_CookieOfAnUnregisteredBufferThatACallNames_ReturnsSuccess()
    {
        uint session = Vm.Open();
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        ulong named = 0;
        Bench.OpTee.OnInvoke = Look;
        SmcRegisters call =
            Vm.Start(ForwardedVm.Invocation(session, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)), out _);
        Assert.That(Vm.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.Zero,
            "The fake, unlike OP-TEE, does not wait for the call.");

        Assert.That(Vm.Driver.Register([Vm.Driver.AllocatePage()], 0, 0x1000, ForwarderBench.Cookie).ReturnCode,
            Is.Zero);
        _ = Vm.Resume(call.X3);
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
        Vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        Vm.Driver.OnRpc = new RpcServices(Vm.Driver).Serve;
        _ = Vm.Driver.Call(OpTeeSmc.EnableShmCache);
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        _ = Vm.Driver.Invoke(session, 0);

        SmcRegisters first = Vm.Driver.Call(OpTeeSmc.DisableShmCache);
        SmcRegisters second = Vm.Driver.Call(OpTeeSmc.DisableShmCache);

        Assert.That(first.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(first.Pair(1, 2), Is.EqualTo(Vm.Driver.RpcMemory.Keys.Single()));
        Assert.That(second.X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
        Assert.That(Vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMessage_CookiesInIt_AreTheGuestsOwn()
    {
        uint session = Vm.Open();
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.FileSystem,
            GuestParameter.RegisteredOut(4, 5, thread.Parameters[0].C), GuestParameter.RegisteredIn(0, 0, 6));
        GuestMessage asked = default!;
        Vm.Driver.OnRpc = message => asked = message;

        _ = Vm.Driver.Invoke(session, 0, GuestParameter.RegisteredOut(0, 1, ForwarderBench.Cookie));

        Assert.That(asked.Parameters,
            Is.EqualTo(
            new[] { GuestParameter.RegisteredOut(4, 5, ForwarderBench.Cookie), GuestParameter.RegisteredIn(0, 0, 0) }));
    }
}
