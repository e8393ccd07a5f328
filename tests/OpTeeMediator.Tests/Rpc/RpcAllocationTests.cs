using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>The steady state of calls that yield allocates nothing, on the vCPU's thread and on the worker's. The
/// counters are those of the two threads.</summary>
[TestFixture(TeeExecution.Inline)]
[TestFixture(TeeExecution.Worker)]
internal sealed class RpcAllocationTests(TeeExecution execution)
{
    private const int Rounds = 300;

    private readonly ManualResetEventSlim _end = new(false);
    private GuestBench _bench = null!;
    private GuestMessage _message = null!;
    private byte[] _offer = [];
    private long _backendBytes;

    [SetUp]
    public void CreateGuest()
    {
        _bench = new GuestBench(
            new OpTeeGuestOptions { Limits = GuestBench.OneCall, NotificationInterrupt = new CountingLine(),
                SleepAfter = TimeSpan.FromMilliseconds(1) },
            new ScriptedBackend { Execution = execution });
        _message = GuestBench.Invocation(_bench.Open(), 0);
        _bench.Driver.WriteMessage(_bench.Driver.MessagePage, _message);
        _offer = Offer();
        _end.Reset();
    }

    [TearDown]
    public async Task DisposeOfGuest()
    {
        _end.Set();
        await _bench.DisposeAsync();
    }

    [OneTimeTearDown]
    public void DisposeOfEvent() => _end.Dispose();

    [TestCase(OpTeeSmc.CallWithRpcArgument, false)]
    [TestCase(OpTeeSmc.CallWithArgument, false)]
    [TestCase(OpTeeSmc.CallWithArgument, true)]
    public void Handle_RpcRoundTrip_AllocatesNothing(uint conduit, bool caches)
    {
        _bench.Backend.OnInvoke = AskForTimeAsync;
        _ = _bench.Driver.Call(caches ? OpTeeSmc.EnableShmCache : OpTeeSmc.DisableShmCache);

        AssertNoAllocation(() => Invoke(conduit));
    }

    [Test]
    public void Handle_RpcMemory_AllocatesNothing()
    {
        _bench.Backend.OnInvoke = AskForMemoryAsync;

        AssertNoAllocation(() => Invoke(OpTeeSmc.CallWithRpcArgument));
    }

    [Test]
    public void Handle_RpcFromBlockingWorker_AllocatesNothing()
    {
        Assume.That(execution, Is.EqualTo(TeeExecution.Worker), "An inline operation may not block.");
        _bench.Backend.OnInvoke = request =>
        {
            _backendBytes = GC.GetAllocatedBytesForCurrentThread();
            _ = request.Guest!.Call(OpTeeRpc.Suspend);
            return new(TeeResult.Success);
        };

        AssertNoAllocation(() => Invoke(OpTeeSmc.CallWithRpcArgument));
    }

    [TestCase(false)]
    [TestCase(true)]
    public void Handle_PreemptedOrSleepingAndResumed_AllocatesNothing(bool sleeps)
    {
        // In the background where it is inline; the counter is the vCPU's then, twice.
        _bench.Backend.OnInvoke = request => execution == TeeExecution.Worker ? new(WaitForEnd())
            : new(Task.Factory.StartNew(WaitForEnd, TaskCreationOptions.LongRunning));
        _ = sleeps ? _bench.Driver.Call(OpTeeSmc.EnableAsyncNotification) : default;
        SmcRegisters registers = Start(OpTeeSmc.CallWithRpcArgument);
        int sleeping = 0;

        AssertNoAllocation(() =>
        {
            AnswerSleep();
            registers = Resume(registers);
            sleeping += registers.X0 == OpTeeSmc.ReturnRpcCommand ? 1 : 0;
        });

        _end.Set();
        AnswerSleep();
        while (registers.X0 != OpTeeSmc.ReturnOk)
        {
            registers = Resume(registers);
        }

        Assert.That(sleeping, sleeps ? Is.Positive : Is.Zero);
    }

    private TeeResult WaitForEnd()
    {
        _end.Wait();
        return TeeResult.Success;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<TeeResult> AskForTimeAsync(TeeRequest request)
    {
        _backendBytes = GC.GetAllocatedBytesForCurrentThread();
        _ = await request.Guest!.GetTimeAsync();
        return TeeResult.FromTee(await request.Guest.SuspendAsync(TimeSpan.FromMilliseconds(1)));
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<TeeResult> AskForMemoryAsync(TeeRequest request)
    {
        _backendBytes = GC.GetAllocatedBytesForCurrentThread();
        TeeSharedMemory? memory = await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 5000);
        return TeeResult.FromTee(memory is null ? TeeReturnCode.Generic : await request.Guest.FreeAsync(memory));
    }

    /// <summary>Does something until it is compiled in full and nothing is allocated any more; code that is not yet
    /// boxes what is awaited.</summary>
    private void AssertNoAllocation(Action action)
    {
        // The framework's own, to which the backend's awaits would post; a vCPU's thread has none.
        SynchronizationContext? context = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(null);
        Assert.That(() => Measure(action), Is.EqualTo((0L, 0L)).After(20_000, 20),
            $"Bytes of the vCPU's thread and of the backend's in {Rounds} rounds.");
        SynchronizationContext.SetSynchronizationContext(context);
    }

    private (long Vcpu, long Backend) Measure(Action action)
    {
        // One more before, so that the backend's thread has a number from the same state.
        action();
        long backend = _backendBytes;
        long vcpu = GC.GetAllocatedBytesForCurrentThread();
        for (int round = 0; round < Rounds; round++)
        {
            action();
        }

        vcpu = GC.GetAllocatedBytesForCurrentThread() - vcpu;
        return (vcpu, _backendBytes - backend);
    }

    private SmcRegisters Start(uint conduit)
    {
        SmcRegisters registers = default;
        registers.X0 = conduit;
        registers.X1 = _bench.Driver.MessagePage >> 32;
        registers.X2 = (uint)_bench.Driver.MessagePage;
        _ = _bench.Guest.Handle(ref registers);
        return registers;
    }

    private SmcRegisters Resume(SmcRegisters registers)
    {
        registers.X0 = OpTeeSmc.ReturnFromRpc;
        _ = _bench.Guest.Handle(ref registers);
        return registers;
    }

    /// <summary>A command from its start to its end, with a guest that answers what it is asked.</summary>
    private void Invoke(uint conduit)
    {
        // Memory for an RPC message: the page behind the call's own, which a call without RPC_ARG leaves alone.
        ulong page = _bench.Driver.MessagePage;
        ulong place = conduit == OpTeeSmc.CallWithArgument ? page + 2048 : page + OpTeeMessage.HeaderSize;
        SmcRegisters registers = Start(conduit);
        while (registers.X0 != OpTeeSmc.ReturnOk)
        {
            switch ((uint)registers.X0)
            {
                case OpTeeSmc.ReturnRpcAllocate:
                    registers.X1 = place >> 32;
                    registers.X2 = (uint)place;
                    registers.X4 = 0;
                    registers.X5 = 1;
                    break;

                case OpTeeSmc.ReturnRpcCommand:
                    Answer(place);
                    break;

                default:
                    break;
            }

            registers = Resume(registers);
        }
    }

    private void Answer(ulong place)
    {
        Span<uint> command = stackalloc uint[1];
        _bench.Driver.Read(place, command);
        if (command[0] == OpTeeRpc.AllocateSharedMemory)
        {
            _bench.Driver.Write<byte>(place, _offer);
        }
    }

    private void AnswerSleep() =>
        _bench.Driver.Write<uint>(_bench.Driver.MessagePage + OpTeeMessage.HeaderSize + 20, [0u]);

    /// <summary>The bytes of an answer that offers two pages apart.</summary>
    private byte[] Offer()
    {
        ulong scratch = _bench.Driver.AllocatePage();
        ulong list = _bench.Driver.WritePageList(_bench.Driver.AllocatePages(2, 2));
        _bench.Driver.WriteMessage(scratch,
            new GuestMessage(OpTeeRpc.AllocateSharedMemory, GuestParameter.PageList(list, 5000, 7)) { ReturnCode = 0 });
        byte[] bytes = new byte[OpTeeMessage.Size(1)];
        _bench.Driver.Read(scratch, bytes.AsSpan());
        return bytes;
    }
}
