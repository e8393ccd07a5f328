using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>When the guest gets a SHM_FREE, the memory is its own again: not pinned, and
/// not in the budget.</summary>
internal sealed class FreedMemoryTests
{
    private readonly List<OpTeeGuestStatus> _held = [];
    private GuestBench _bench = null!;
    private RpcServices _services = null!;

    [TearDown]
    public async Task TearDown() => await _bench.DisposeAsync();

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public void FreeAsync_GuestServesIt_NothingIsHeld(TeeExecution execution)
    {
        uint session = Create(execution);
        _bench.Backend.OnInvoke = static async request =>
        {
            TeeSharedMemory memory = (await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 5000))!;
            return TeeResult.FromTee(await request.Guest.FreeAsync(memory));
        };

        AssertReleasedWhenServed(session);
    }

    [Test]
    public void Free_GuestServesIt_NothingIsHeld()
    {
        uint session = Create(TeeExecution.Worker);
        _bench.Backend.OnInvoke = static request =>
        {
            TeeSharedMemory memory = request.Guest!.Allocate(GuestMemoryKind.Supplicant, 5000)!;
            return ValueTask.FromResult(TeeResult.FromTee(request.Guest.Free(memory)));
        };

        AssertReleasedWhenServed(session);
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public void Invoke_OperationLeavesMemory_NothingIsHeldWhenTheGuestServesItsFree(TeeExecution execution)
    {
        uint session = Create(execution);
        _bench.Backend.OnInvoke = static async request =>
        {
            _ = await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 5000);
            return TeeResult.Success;
        };

        AssertReleasedWhenServed(session);
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public void AllocateAsync_OfferIsTooSmall_NothingIsHeldWhenTheGuestServesItsFree(TeeExecution execution)
    {
        uint session = Create(execution);
        _bench.Backend.OnInvoke = static async request =>
            TeeResult.FromTee(await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 5000) is null
                ? TeeReturnCode.Success : TeeReturnCode.Generic);
        Func<GuestMessage, GuestMessage> serve = _bench.Driver.OnRpc!;
        _bench.Driver.OnRpc = message =>
        {
            GuestMessage answer = serve(message);
            return answer.Command == OpTeeRpc.AllocateSharedMemory
                ? answer with { Parameters = [answer.Parameters[0] with { B = 4999 }] } : answer;
        };

        AssertReleasedWhenServed(session);
    }

    [Test]
    public void FreeAsync_GuestServesAnotherCall_ThrowsAndMemoryStays()
    {
        using ManualResetEventSlim hasTried = new(false);
        uint session = Create(TeeExecution.Worker);
        OpTeeGuestStatus kept = default;
        bool hasThrown = false;
        _bench.Backend.OnInvoke = async request =>
        {
            // On its own thread the other call would block.
            await Task.Yield();
            TeeSharedMemory memory = (await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 5000))!;
            ValueTask<TeeReturnCode> other = request.Guest.CallAsync(OpTeeRpc.Suspend);
            try
            {
                _ = await request.Guest.FreeAsync(memory);
            }
            catch (InvalidOperationException)
            {
                hasThrown = true;
            }

            kept = _bench.Guest.Status;
            hasTried.Set();
            return TeeResult.FromTee(await other);
        };
        Func<GuestMessage, GuestMessage> serve = _bench.Driver.OnRpc!;
        _bench.Driver.OnRpc = message =>
        {
            _ = message.Command != OpTeeRpc.Suspend || hasTried.Wait(TimeSpan.FromMinutes(1));
            return serve(message);
        };

        uint code = _bench.Driver.Invoke(session, 0).ReturnCode;

        Assert.That((code, hasThrown, kept.Buffers, kept.SharedPages), Is.EqualTo((0u, true, 1, 2)));
        Assert.That(_services.Memory, Is.Empty, "The mediator gives it back when the operation has ended.");
    }

    private uint Create(TeeExecution execution)
    {
        _held.Clear();
        _bench = new GuestBench(backend: new ScriptedBackend { Execution = execution });
        _services = new RpcServices(_bench.Driver);
        _bench.Driver.OnRpc = message =>
        {
            if (message.Command == OpTeeRpc.FreeSharedMemory)
            {
                _held.Add(_bench.Guest.Status);
            }

            return _services.Serve(message);
        };
        return _bench.Open();
    }

    private void AssertReleasedWhenServed(uint session)
    {
        uint code = _bench.Driver.Invoke(session, 0).ReturnCode;

        Assert.That(code, Is.Zero);
        Assert.That(_held, Has.Count.EqualTo(1));
        Assert.That((_held[0].Buffers, _held[0].SharedPages), Is.EqualTo((0, 0)));
        Assert.That(_services.Memory, Is.Empty);
    }
}
