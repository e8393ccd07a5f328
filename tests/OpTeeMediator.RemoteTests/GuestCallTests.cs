using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>Calls to the guest, cancellation, pause and termination travel.</summary>
internal sealed class GuestCallTests
{
    private readonly SemaphoreSlim _inside = new(0);
    private readonly ManualResetEventSlim _goOn = new(false);
    private ScriptedBackend _backend = null!;
    private RemoteBench _bench = null!;
    private RpcServices _services = null!;

    [TearDown]
    public async Task TearDown()
    {
        _goOn.Set();
        await _bench.DisposeAsync();
        await _backend.DisposeAsync();
        _goOn.Reset();
        while (_inside.Wait(0))
        {
        }
    }

    [OneTimeTearDown]
    public void DisposeOfEvents()
    {
        _goOn.Dispose();
        _inside.Dispose();
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public void CallAsync_Served_OperationGetsTheAnswer(TeeExecution execution)
    {
        uint session = Create(execution);
        _backend.OnInvoke = static async request =>
        {
            GuestAnswer<TimeSpan> time = await request.Guest!.GetTimeAsync();
            TeeReturnCode refused = await request.Guest.CallAsync(0x99);
            request.SetValue(0, (ulong)time.Value.TotalSeconds, (ulong)refused);
            return TeeResult.FromTee(time.Code);
        };

        GuestMessage answer = _bench.Driver.Invoke(session, 0, GuestParameter.ValueOut());

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(
            (answer.Parameters[0].A, answer.Parameters[0].B),
            Is.EqualTo((1_000_000_000ul, (ulong)TeeReturnCode.NotSupported)));
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public void AllocateAsync_ReferenceToIt_SupplicantAndOperationShareIt(TeeExecution execution)
    {
        uint session = Create(execution);
        byte[] text = "from the TEE"u8.ToArray();
        _services.OnSupplicant = message =>
        {
            // The supplicant turns the text round, in the memory that the reference names.
            GuestParameter reference = message.Parameters[0];
            ulong page = _services.Memory[reference.C][0];
            byte[] bytes = new byte[reference.B];
            _bench.Driver.Read<byte>(page + reference.A, bytes);
            Array.Reverse(bytes);
            _bench.Driver.Write<byte>(page + reference.A, bytes);
            return message with { ReturnCode = 0, Parameters = [reference with { B = 4 }] };
        };
        byte[] seen = new byte[text.Length];
        _backend.OnInvoke = async request =>
        {
            TeeSharedMemory memory = (await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 5000))!;
            bool isDone = memory.TryWrite(100, text);
            TeeReturnCode code = await request.Guest.CallAsync(
                0x99, TeeParameter.Reference(TeeParameterKind.MemoryInOut, memory, 100, (ulong)text.Length));
            isDone &= memory.TryRead(100, seen) && request.Guest.Parameters[0].Size == 4;
            TeeReturnCode freed = await request.Guest.FreeAsync(memory);
            return TeeResult.FromTee(isDone && code == freed ? code : TeeReturnCode.Generic);
        };

        GuestMessage answer = _bench.Driver.Invoke(session, 0);

        Array.Reverse(text);
        Assert.Multiple(() =>
        {
            Assert.That(answer.ReturnCode, Is.Zero);
            Assert.That(seen, Is.EqualTo(text));
            Assert.That(_services.Memory, Is.Empty);
        });
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public void AllocateAsync_NotFreed_GuestGetsItBackWithTheOperation(TeeExecution execution)
    {
        uint session = Create(execution);
        _backend.OnInvoke = static async request =>
        {
            _ = await request.Guest!.AllocateAsync(GuestMemoryKind.Kernel, 5000);
            return TeeResult.Success;
        };

        GuestMessage answer = _bench.Driver.Invoke(session, 0);

        Assert.That((answer.ReturnCode, _services.Memory.Count), Is.EqualTo((0u, 0)));
    }

    [Test]
    public void Call_BlockingOnTheWorker_OperationGetsTheAnswers()
    {
        uint session = Create(TeeExecution.Worker);
        _backend.OnInvoke = static request =>
        {
            GuestServices guest = request.Guest!;
            guest.BeginWait();
            guest.EndWait();
            TeeSharedMemory memory = guest.Allocate(GuestMemoryKind.Kernel, 100)!;
            TeeReturnCode freed = guest.Free(memory);
            TeeReturnCode sent = guest.SendNotification(GuestServices.FirstNotification);
            return new(TeeResult.FromTee(freed == TeeReturnCode.Success ? sent : freed));
        };

        GuestMessage answer = _bench.Driver.Invoke(session, 0);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(
            _services.Calls.Select(call => call.Command),
            Is.EqualTo([OpTeeRpc.AllocateSharedMemory, OpTeeRpc.FreeSharedMemory, OpTeeRpc.Notification]));
    }

    [Test]
    public void Call_InlineOrTwiceOrOutside_ThrowsAsInProcess()
    {
        uint session = Create(TeeExecution.Inline);
        GuestServices? kept = null;
        Exception? blocking = null;
        Exception? twice = null;
        _backend.OnInvoke = async request =>
        {
            kept = request.Guest!;
            blocking = Assert.Catch(() => kept.Call(OpTeeRpc.Suspend));
            ValueTask<TeeReturnCode> first = kept.SuspendAsync(TimeSpan.Zero);
            twice = Assert.Catch(() => _ = kept.SuspendAsync(TimeSpan.Zero).AsTask());
            return TeeResult.FromTee(await first);
        };

        GuestMessage answer = _bench.Driver.Invoke(session, 0);

        Assert.Multiple(() =>
        {
            Assert.That(answer.ReturnCode, Is.Zero);
            Assert.That(blocking, Is.InstanceOf<InvalidOperationException>());
            Assert.That(twice, Is.InstanceOf<InvalidOperationException>());
            Assert.That(
                () => _ = kept!.SuspendAsync(TimeSpan.Zero).AsTask(), Throws.InstanceOf<InvalidOperationException>());
        });
    }

    [Test]
    public void Cancel_OfARunningCommand_TeeIsToldOnceAndSeesIt()
    {
        uint session = Create(TeeExecution.Worker);
        _backend.OnInvoke = request =>
        {
            _ = _inside.Release();
            _goOn.Wait();
            return new(TeeResult.FromTee(request is { IsCancellationRequested: true, IsTerminationRequested: false }
                ? TeeReturnCode.Cancel
                : TeeReturnCode.Generic));
        };
        _backend.OnCancel = _ => _goOn.Set();
        SmcRegisters call = Start(session, cancelId: 5);

        GuestMessage cancel = _bench.OtherDriver.Cancel(session, 5);
        _ = _bench.OtherDriver.Cancel(session, 5);
        GuestMessage answer = Finish(call);

        Assert.That((cancel.ReturnCode, answer.ReturnCode), Is.EqualTo((0u, (uint)TeeReturnCode.Cancel)));
        Assert.That(_backend.Cancellations, Is.EqualTo(1));
    }

    [Test]
    public async Task DisposeAsync_CommandRuns_TeeIsToldThatItEnds()
    {
        uint session = Create(TeeExecution.Worker);
        bool isTerminated = false;
        _backend.OnInvoke = request =>
        {
            _ = _inside.Release();
            _goOn.Wait();
            isTerminated = request.IsTerminationRequested;
            return new(TeeResult.Success);
        };
        _backend.OnCancel = _ => _goOn.Set();
        _ = Start(session, 0);

        await _bench.Guest.DisposeAsync();

        Assert.That((isTerminated, _backend.OpenSessions, _backend.Disposals), Is.EqualTo((true, 0, 1)));
    }

    [Test]
    public async Task DisposeAsync_OperationCallsTheGuest_CallReturnsCommunication()
    {
        uint session = Create(TeeExecution.Worker);
        TeeReturnCode code = default;
        _backend.OnInvoke = request =>
        {
            _ = _inside.Release();
            code = request.Guest!.Suspend(TimeSpan.FromSeconds(1));
            return new(TeeResult.Success);
        };
        _ = Start(session, 0);

        await _bench.Guest.DisposeAsync();

        Assert.That((code, _backend.Disposals), Is.EqualTo((TeeReturnCode.Communication, 1)));
    }

    [Test]
    public async Task PauseAsync_OperationWaits_IsPausedAndGoesOnAfterResume()
    {
        uint session = Create(TeeExecution.Worker);
        bool isBack = false;
        _backend.OnInvoke = request =>
        {
            request.Guest!.BeginWait();
            _ = _inside.Release();
            _goOn.Wait();
            request.Guest.EndWait();
            Volatile.Write(ref isBack, true);
            return new(TeeResult.Success);
        };
        SmcRegisters call = Start(session, 0);

        bool isPaused = await _bench.Guest.PauseAsync();
        _goOn.Set();
        await Task.Delay(50);
        bool wentOn = Volatile.Read(ref isBack);
        _bench.Guest.Resume();
        GuestMessage answer = Finish(call);

        Assert.That((isPaused, wentOn, isBack, answer.ReturnCode), Is.EqualTo((true, false, true, 0u)));
    }

    [Test]
    public async Task PauseAsync_GuestIsAsked_IsPausedAndTheAnswerIsHeld()
    {
        uint session = Create(TeeExecution.Worker);
        bool isBack = false;
        _backend.OnInvoke = request =>
        {
            _ = _inside.Release();
            TeeReturnCode code = request.Guest!.Suspend(TimeSpan.FromSeconds(1));
            Volatile.Write(ref isBack, true);
            return new(TeeResult.FromTee(code));
        };
        SmcRegisters call = Start(session, 0);

        bool isPaused = await _bench.Guest.PauseAsync();
        while ((uint)call.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            call = _bench.Driver.Step(call);
        }

        call = _bench.Driver.Step(call);
        await Task.Delay(50);
        bool wentOn = Volatile.Read(ref isBack);
        _bench.Guest.Resume();
        GuestMessage answer = Finish(call);

        Assert.That((isPaused, wentOn, isBack, answer.ReturnCode), Is.EqualTo((true, false, true, 0u)));
    }

    private uint Create(TeeExecution execution)
    {
        _backend = new ScriptedBackend { Execution = execution };
        _bench = new RemoteBench(_backend);
        _services = new RpcServices(_bench.Driver);
        _bench.Driver.OnRpc = _services.Serve;
        return _bench.Open();
    }

    /// <summary>Begins a command that comes back unfinished, and waits until it is in the TEE.</summary>
    private SmcRegisters Start(uint session, uint cancelId)
    {
        SmcRegisters call = _bench.Driver.Start(
            new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session, CancelId = cancelId });
        _inside.Wait();
        return call;
    }

    private GuestMessage Finish(SmcRegisters call)
    {
        Assert.That(_bench.Driver.Finish(call), Is.EqualTo(OpTeeSmc.ReturnOk));
        return _bench.Driver.ReadMessage(_bench.Driver.MessagePage, 0);
    }
}
