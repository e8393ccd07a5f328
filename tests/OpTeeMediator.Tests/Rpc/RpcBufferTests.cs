using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>Memory for RPC messages of guests that do not supply it with the call.</summary>
internal sealed class RpcBufferTests
{
    private GuestBench _bench = null!;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _bench = new GuestBench();
        _bench.Driver.Conduit = OpTeeSmc.CallWithArgument;
        _bench.Driver.OnRpc = new RpcServices(_bench.Driver).Serve;
        _bench.Backend.OnInvoke = static async request =>
            TeeResult.FromTee(await request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1)));
        _session = _bench.Open();
    }

    [TearDown]
    public async Task TearDown() => await _bench.DisposeAsync();

    [Test]
    public void Invoke_CacheEnabled_MemoryStaysUntilItIsDisabled()
    {
        _ = _bench.Driver.Call(OpTeeSmc.EnableShmCache);

        _ = _bench.Driver.Invoke(_session, 0);
        ulong cookie = _bench.Driver.RpcMemory.Keys.Single();
        _ = _bench.Driver.Invoke(_session, 0);

        SmcRegisters first = _bench.Driver.Call(OpTeeSmc.DisableShmCache);
        SmcRegisters second = _bench.Driver.Call(OpTeeSmc.DisableShmCache);
        Assert.That(_bench.Driver.RpcMemory.Keys, Is.EqualTo(new[] { cookie }),
            "The second call should have used the same memory.");
        Assert.That((first.X0, first.Pair(1, 2)), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, cookie)));
        Assert.That(second.X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
    }

    [Test]
    public void Invoke_CacheDisabled_MemoryGoesBackWithEachCall()
    {
        GuestMessage answer = _bench.Driver.Invoke(_session, 0);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(_bench.Driver.RpcMemory, Is.Empty);
    }

    [Test]
    public void Invoke_MemoryOfAnotherCallIsThere_ItIsUsed()
    {
        _ = _bench.Driver.Call(OpTeeSmc.EnableShmCache);
        _ = _bench.Driver.Invoke(_session, 0);

        // Held by a call that waits elsewhere: the next one takes another slot.
        _bench.Backend.OnInvoke = static _ => new ValueTask<TeeResult>(new TaskCompletionSource<TeeResult>().Task);
        _ = _bench.StartInvoke(_session);
        _bench.Backend.OnInvoke = static async request =>
            TeeResult.FromTee(await request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1)));
        _ = _bench.Driver.Invoke(_session, 0);

        Assert.That(_bench.Driver.RpcMemory, Has.Count.EqualTo(1));
    }

    [Test]
    public void ExchangeCapabilities_MemoryKeptForEarlierDriver_IsDiscarded()
    {
        _ = _bench.Driver.Call(OpTeeSmc.EnableShmCache);
        _ = _bench.Driver.Invoke(_session, 0);
        _ = _bench.Driver.CloseSession(_session);

        _ = _bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);

        Assert.That(_bench.Driver.Call(OpTeeSmc.DisableShmCache).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable),
            "That memory is the new kernel's.");
    }

    [TestCase(0ul, TestName = "NoMemory")]
    [TestCase(0x10_0000ul, TestName = "OutsideRam")]
    [TestCase(GuestBench.RamStart + 4, TestName = "Unaligned")]
    [TestCase(GuestBench.RamStart + 4096 - 152, TestName = "AcrossPages")]
    public void Resume_UnusableMemoryForMessage_IsFreedAndBackendGetsOutOfMemory(ulong address)
    {
        const ulong Cookie = 0xffff_0000_1234_5678;
        SmcRegisters asked = Start();

        SmcRegisters freed = Answer(asked, address, Cookie);
        SmcRegisters answered = _bench.Resume(freed.X3);

        Assert.That(asked.X0, Is.EqualTo(OpTeeSmc.ReturnRpcAllocate));
        Assert.That((freed.X0, freed.Pair(1, 2)), Is.EqualTo(((ulong)OpTeeSmc.ReturnRpcFree, Cookie)));
        Assert.That((answered.X0, ReturnCode), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, TeeReturnCode.OutOfMemory)));
    }

    [Test]
    public void Resume_NoMemoryForMessageAndNoCookie_BackendGetsOutOfMemoryAtOnce()
    {
        SmcRegisters answered = Answer(Start(), 0, 0);

        Assert.That((answered.X0, ReturnCode), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, TeeReturnCode.OutOfMemory)));
    }

    [Test]
    public async Task ResetAsync_UnusableMemoryForMessageIsBeingFreed_CallEnds()
    {
        SmcRegisters freed = Answer(Start(), 0x10_0000, 1);

        await _bench.Guest.ResetAsync();

        Assert.That(_bench.Resume(freed.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(_bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    [Test]
    public void Handle_ResumeAfterAllocate_AsksForTheAddressToo()
    {
        _bench.Driver.WriteMessage(_bench.Driver.MessagePage, GuestBench.Invocation(_session, 0));
        SmcRegisters asked = _bench.Driver.Start(_bench.Driver.MessagePage, 0, 0);
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.ReturnFromRpc;

        SmcOutcome first = _bench.Guest.Handle(ref registers, SmcRegisterSet.X0);
        registers.X3 = asked.X3;
        SmcOutcome second = _bench.Guest.Handle(ref registers, first.Registers);

        Assert.That(first, Is.EqualTo(SmcOutcome.NeedsRegisters(SmcRegisterSet.X0.Union(SmcRegisterSet.Range(3, 3)))));
        Assert.That(second, Is.EqualTo(SmcOutcome.NeedsRegisters(SmcRegisterSet.Range(0, 5))));
        _ = _bench.Driver.Finish(asked);
    }

    private TeeReturnCode ReturnCode =>
        (TeeReturnCode)_bench.Driver.ReadMessage(_bench.Driver.MessagePage, 0).ReturnCode;

    private SmcRegisters Start()
    {
        _bench.Driver.WriteMessage(_bench.Driver.MessagePage, GuestBench.Invocation(_session, 0));
        return _bench.Driver.Start(_bench.Driver.MessagePage, 0, 0);
    }

    private SmcRegisters Answer(SmcRegisters asked, ulong address, ulong cookie) =>
        _bench.Driver.Call(OpTeeSmc.ReturnFromRpc, address >> 32, (uint)address, asked.X3, cookie >> 32, (uint)cookie);
}
