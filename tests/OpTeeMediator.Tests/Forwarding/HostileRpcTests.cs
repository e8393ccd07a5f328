using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Guests that answer RPCs with other kinds of parameters, or with memory that cannot be used.</summary>
internal sealed class HostileRpcTests : ForwarderFixture
{
    [Test]
    public void RpcMessage_RewrittenByTheGuest_OnlyItsOutputsCount()
    {
        uint session = Vm.Open();
        GuestParameter[] seen = [];
        uint command = 0;
        Bench.OpTee.OnInvoke = Ask;
        Vm.Driver.OnRpc = message => new GuestMessage(OpTeeRpc.AllocateSharedMemory,
            [.. message.Parameters
            .Select((_, index) => new GuestParameter((ulong)(0x20a + index), 11, 22, 33))]) { ReturnCode = 0 };

        _ = Vm.Driver.Invoke(session, 0);

        Assert.That(seen,
            Is.EqualTo(
            new[] { GuestParameter.ValueIn(1, 2), new GuestParameter(OpTeeMessage.TypeValueOutput, 11, 22, 33),
            GuestParameter.RegisteredOut(4, 22, 6) }));
        Assert.That(Vm.Status.Buffers, Is.Zero);
        Assert.That(command, Is.EqualTo(OpTeeRpc.FileSystem));

        IEnumerable<RpcStep> Ask(FakeThread thread)
        {
            foreach (
                RpcStep step in thread.Ask(OpTeeRpc.FileSystem, GuestParameter.ValueIn(1, 2), GuestParameter.ValueOut(),
                GuestParameter.RegisteredOut(4, 5, 6)))
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
        uint session = Vm.Open();
        List<GuestMessage> asked = [];
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        Vm.Driver.OnRpc = message =>
        {
            asked.Add(message);
            return message.Command == OpTeeRpc.AllocateSharedMemory
                ? message with { ReturnCode = 0,
                    Parameters = [new GuestParameter(attributes, 0x1000, size, OtherCookie)] }
                : message with { ReturnCode = 0 };
        };

        _ = Vm.Driver.Invoke(session, 0);

        Assert.That(asked[^1].Command, Is.EqualTo(OpTeeRpc.FreeSharedMemory), why);
        Assert.That(asked[^1].Parameters[0].B, Is.EqualTo(OtherCookie));
        Assert.That(Vm.Status.Buffers, Is.Zero);
        Assert.That(Vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMemory_TooSmall_IsGivenBackToTheGuest()
    {
        // OP-TEE itself would take no notice of it, and never have it freed.
        uint session = Vm.Open();
        bool isFreed = false;
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        ulong list = Vm.Driver.WritePageList([Vm.Driver.AllocatePage()]);
        Vm.Driver.OnRpc = message =>
        {
            isFreed |= message.Command == OpTeeRpc.FreeSharedMemory;
            return message.Command == OpTeeRpc.AllocateSharedMemory
                ? message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(list, 0x800, OtherCookie)] }
                : message with { ReturnCode = 0 };
        };

        _ = Vm.Driver.Invoke(session, 0);

        Assert.That(isFreed);
        Assert.That(Vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMemory_WithTheCookieOfTheRpcMessages_IsGivenBackAndTheMessagesAreFreed()
    {
        Vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000);
        Vm.Driver.OnRpc = message => message.Command == OpTeeRpc.AllocateSharedMemory
            ? message with { ReturnCode = 0,
                Parameters = [GuestParameter.PageList(0x1000, 0, Vm.Driver.RpcMemory.Keys.Single())] }
            : message with { ReturnCode = 0 };

        _ = Vm.Driver.Invoke(session, 0);

        Assert.That(Vm.Driver.RpcMemory, Is.Empty);
        Assert.That(Vm.Status.Buffers, Is.Zero);
        Assert.That(Vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void RpcMemory_WithTheCookieOfARegisteredBuffer_IsUsedAndTheBufferStays()
    {
        uint session = Vm.Open();
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        ulong freed = 0;
        Bench.OpTee.OnInvoke = AllocateAndFree;
        ulong page = Vm.Driver.AllocatePage();
        ulong list = Vm.Driver.WritePageList([page]);
        ulong[] used = [];
        Vm.Driver.OnRpc = message =>
        {
            freed = message.Command == OpTeeRpc.FreeSharedMemory ? message.Parameters[0].B : freed;
            return message.Command == OpTeeRpc.AllocateSharedMemory
                ? message with { ReturnCode = 0,
                    Parameters = [GuestParameter.PageList(list, 0x1000, ForwarderBench.Cookie)] }
                : message with { ReturnCode = 0 };
        };

        _ = Vm.Driver.Invoke(session, 0);

        Assert.That(used, Is.EqualTo(Vm.PhysicalOf([page])));
        Assert.That(freed, Is.EqualTo(ForwarderBench.Cookie));
        Assert.That(Vm.Memory.Pins, Is.EqualTo(1), "The registered buffer is still shared.");
        Assert.That(Vm.Driver.Unregister(ForwarderBench.Cookie).ReturnCode, Is.Zero);
        Assert.That(Vm.Memory.Pins, Is.Zero);

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
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x1000).Concat(thread.Allocate(0x1000));
        ulong list = Vm.Driver.WritePageList([Vm.Driver.AllocatePage()]);
        Vm.Driver.OnRpc = message =>
            message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(list, 0x1000, OtherCookie)] };
        _ = Vm.Driver.Invoke(session, 0);
        Assert.That(Vm.Partition.Memory, Has.Count.EqualTo(2));
        Assert.That(Vm.Memory.Pins, Is.EqualTo(2));
        List<ulong> freed = [];
        Vm.Driver.OnRpc = message =>
        {
            freed.Add(message.Parameters[0].B);
            return message with { ReturnCode = 0 };
        };
        Bench.OpTee.OnInvoke = thread =>
            thread.Free(thread.Partition.Memory[^1].Cookie).Concat(thread.Free(thread.Partition.Memory[^1].Cookie));

        _ = Vm.Driver.Invoke(session, 0);

        Assert.That(freed, Is.EqualTo(new[] { OtherCookie, OtherCookie }));
        Assert.That(Vm.Memory.Pins, Is.Zero);
    }

    [TestCase(0x1000ul, OtherCookie, true, "no guest memory")]
    [TestCase(ForwarderBench.GuestStart + 4, OtherCookie, true, "not aligned")]
    [TestCase(ForwarderBench.GuestStart, 0ul, false, "no cookie")]
    [TestCase(0ul, OtherCookie, false, "no memory")]
    public void RpcMessageMemory_ThatCannotBeUsed_IsGivenBackToTheGuest(ulong address, ulong cookie, bool isFreed,
        string why)
    {
        Vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        uint session = Vm.Open();
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        ulong page = Vm.Driver.AllocatePage();
        Vm.Driver.WriteMessage(page, ForwardedVm.Invocation(session));
        SmcRegisters allocate = Vm.Driver.Call(OpTeeSmc.CallWithArgument, 0, page);
        Assert.That(allocate.X0, Is.EqualTo(OpTeeSmc.ReturnRpcAllocate));

        SmcRegisters next =
            Vm.Driver.Call(OpTeeSmc.ReturnFromRpc, address >> 32, address, allocate.X3, cookie >> 32, cookie);

        Assert.That(next.X0, Is.EqualTo(isFreed ? OpTeeSmc.ReturnRpcFree : OpTeeSmc.ReturnOk), why);
        Assert.That(Bench.OpTee.Calls[^1].Pair(1, 2), Is.EqualTo(1), "No address that OP-TEE could take for memory.");
        Assert.That(next.Pair(1, 2), Is.EqualTo(isFreed ? cookie : 0));
        Assert.That(Vm.Status.Buffers, Is.EqualTo(1), "What was registered before.");
        Assert.That(Vm.Memory.Pins, Is.EqualTo(1));
    }

    [Test]
    public void RpcMessage_PhysicalAddressesInIt_AreNotShown()
    {
        uint session = Vm.Open();
        ulong shown = 1;
        Bench.OpTee.OnInvoke = thread =>
            thread.Ask(OpTeeRpc.Rpmb, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, 0x4200_0000, 8, 7));
        Vm.Driver.OnRpc = message =>
        {
            shown = message.Parameters[0].A;
            return message;
        };

        _ = Vm.Driver.Invoke(session, 0);

        Assert.That(shown, Is.Zero);
    }
}
