using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>Calls of the backend to the guest, with and without room for their messages,
/// inline and from workers.</summary>
[TestFixture(TeeExecution.Inline, OpTeeSmc.CallWithRpcArgument)]
[TestFixture(TeeExecution.Worker, OpTeeSmc.CallWithRpcArgument)]
[TestFixture(TeeExecution.Inline, OpTeeSmc.CallWithArgument)]
[TestFixture(TeeExecution.Worker, OpTeeSmc.CallWithArgument)]
internal sealed class RpcTests(TeeExecution execution, uint conduit)
{
    private GuestBench _bench = null!;
    private RpcServices _services = null!;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _bench = new GuestBench(backend: new ScriptedBackend { Execution = execution });
        _bench.Driver.Conduit = conduit;
        _services = new RpcServices(_bench.Driver);
        _bench.Driver.OnRpc = _services.Serve;
        _session = _bench.Open();
    }

    [TearDown]
    public async Task TearDown()
    {
        Assert.That(await _bench.DisposeGuestAsync(), Is.EqualTo(GuestBench.Nothing with { }),
            "Everything should be given back.");
        await _bench.DisposeAsync();
    }

    [Test]
    public void GetTime_GuestAnswers_IsItsTime()
    {
        GuestAnswer<TimeSpan> time = default;
        _bench.Backend.OnInvoke = async request =>
        {
            time = await request.Guest!.GetTimeAsync();
            return TeeResult.Success;
        };

        GuestMessage answer = _bench.Driver.Invoke(_session, 0);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(
            time,
            Is.EqualTo(new GuestAnswer<TimeSpan>(TeeReturnCode.Success, TimeSpan.FromSeconds(1_000_000_000.005))));
        Assert.That(_bench.Driver.RpcMemory, Is.Empty, "Memory for the message should have gone back.");
    }

    [Test]
    public void AllocateAsync_GuestOffersScatteredPages_MemoryIsItsOwn()
    {
        byte[] written = [1, 2, 3, 4];
        _bench.Backend.OnInvoke = async request =>
        {
            TeeSharedMemory memory = (await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 6000))!;
            bool isWritten = memory.TryWrite(4094, written);
            TeeReturnCode freed = await request.Guest.FreeAsync(memory);
            return TeeResult.FromTee(isWritten ? freed : TeeReturnCode.Generic);
        };
        ulong[] pages = [];
        _bench.Driver.OnRpc = message =>
        {
            pages = _services.Memory.Count == 1 ? [.. _services.Memory.Values.First()] : pages;
            return _services.Serve(message);
        };

        GuestMessage answer = _bench.Driver.Invoke(_session, 0);

        byte[] end = new byte[2];
        byte[] start = new byte[2];
        _bench.Driver.Read(pages[0] + 4094, end.AsSpan());
        _bench.Driver.Read(pages[1], start.AsSpan());
        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(end.Concat(start), Is.EqualTo(written));
        Assert.That(_services.Memory, Is.Empty);
    }

    [Test]
    public void AllocateAsync_NotFreedByBackend_MediatorGivesItBack()
    {
        _bench.Backend.OnInvoke = async request =>
        {
            _ = await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 100);
            _ = await request.Guest!.AllocateAsync(GuestMemoryKind.Kernel, 5000);
            return TeeResult.Success;
        };

        GuestMessage answer = _bench.Driver.Invoke(_session, 0);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(_services.Memory, Is.Empty);
        Assert.That(_bench.Guest.Status.Buffers, Is.Zero);
    }

    [TestCaseSource(nameof(BadOffers))]
    public void AllocateAsync_BadOffer_IsDeclinedAndFreed(GuestParameter offer)
    {
        TeeSharedMemory? memory = null;
        _bench.Backend.OnInvoke = async request =>
        {
            memory = await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 100);
            return TeeResult.Success;
        };
        List<GuestMessage> asked = [];
        _bench.Driver.OnRpc = message =>
        {
            asked.Add(message);
            return message.Command == OpTeeRpc.AllocateSharedMemory
                ? message with { ReturnCode = 0, Parameters = [offer] } : message with { ReturnCode = 0 };
        };

        GuestMessage answer = _bench.Driver.Invoke(_session, 0);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(memory, Is.Null);
        Assert.That(asked.Select(message => message.Command),
            Is.EqualTo(new[] { OpTeeRpc.AllocateSharedMemory, OpTeeRpc.FreeSharedMemory }));
        Assert.That(asked[1].Parameters[0].B, Is.EqualTo(offer.C), "It should be told the cookie of its offer.");
    }

    private static IEnumerable<TestCaseData<GuestParameter>> BadOffers() =>
    [
        new(GuestParameter.PageList(0x10_0000, 100, 7)) { TestName = "PageListOutsideRam" },
        new(GuestParameter.PageList(GuestBench.RamStart, 99, 7)) { TestName = "TooSmall" },
        new(GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, 0x10_0000, 100, 7)) { TestName = "OutsideRam" },
        new(GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, 0, 100, 7)) { TestName = "Null" },
        new(GuestParameter.RegisteredOut(0, 100, 7)) { TestName = "NotTemporary" },
        new(GuestParameter.ValueOut() with { C = 7 }) { TestName = "Value" },
    ];

    [Test]
    public void CallAsync_SupplicantCommand_CarriesParametersBothWays()
    {
        GuestMessage asked = new(0);
        _services.OnSupplicant = message =>
        {
            asked = message;
            return message with { ReturnCode = 0xffff_0008, Parameters = [message.Parameters[0],
                message.Parameters[1] with { B = 77 }, message.Parameters[2] with { A = 5, B = 6 }] };
        };
        TeeReturnCode code = default;
        (ulong Size, ulong A, ulong B) outputs = default;
        _bench.Backend.OnInvoke = async request =>
        {
            GuestServices guest = request.Guest!;
            TeeSharedMemory memory = (await guest.AllocateAsync(GuestMemoryKind.Supplicant, 200))!;
            code = await guest.CallAsync(
                OpTeeRpc.FileSystem,
                TeeParameter.Value(TeeParameterKind.ValueInput, 3, 9, 1234),
                TeeParameter.Reference(TeeParameterKind.MemoryOutput, memory, 100, 100),
                TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0));
            outputs = (guest.Parameters[1].Size, guest.Parameters[2].A, guest.Parameters[2].B);
            return TeeResult.Success;
        };

        _ = _bench.Driver.Invoke(_session, 0);

        Assert.That(code, Is.EqualTo(TeeReturnCode.ItemNotFound));
        Assert.That(outputs, Is.EqualTo((77ul, 5ul, 6ul)));
        Assert.That(asked.Command, Is.EqualTo(OpTeeRpc.FileSystem));
        Assert.That(asked.ReturnCode, Is.EqualTo(0xffff_0000), "What is there if the guest answers nothing.");
        Assert.That(asked.Parameters[0], Is.EqualTo(GuestParameter.ValueIn(3, 9) with { C = 1234 }));
        Assert.That(asked.Parameters[1], Is.EqualTo(GuestParameter.RegisteredOut(100, 100, RpcServices.FirstCookie)));
    }

    [Test]
    public void CallAsync_ManyTimes_EachIsAnswered()
    {
        const int Times = 100;
        int answered = 0;
        _bench.Backend.OnInvoke = async request =>
        {
            for (int count = 0; count < Times; count++)
            {
                answered += await request.Guest!.SuspendAsync(
                    TimeSpan.FromMilliseconds(1)) == TeeReturnCode.Success ? 1 : 0;
            }

            return TeeResult.Success;
        };

        _ = _bench.Driver.Invoke(_session, 0);

        Assert.That(answered, Is.EqualTo(Times));
    }

    [Test]
    public void CallAsync_AnswerNotAwaited_OperationEndsAllTheSame([Values(0, 1, 3)] int milliseconds)
    {
        _bench.Backend.OnInvoke = async request =>
        {
            _ = request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1)).AsTask();
            await Task.Delay(milliseconds);
            return TeeResult.FromTee(TeeReturnCode.NoData);
        };

        for (int count = 0; count < 20; count++)
        {
            Assert.That(_bench.Driver.Invoke(_session, 0).ReturnCode, Is.EqualTo((uint)TeeReturnCode.NoData));
        }
    }

    [Test]
    public async Task Dispose_AnswerNotAwaitedAndOperationEnded_FreesTheCall()
    {
        TaskCompletionSource mayEnd = new();
        _bench.Backend.OnInvoke = async request =>
        {
            _ = request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1)).AsTask();
            await mayEnd.Task;
            return TeeResult.Success;
        };
        _ = StartUntil(conduit == OpTeeSmc.CallWithArgument ? OpTeeSmc.ReturnRpcAllocate : OpTeeSmc.ReturnRpcCommand);

        mayEnd.SetResult();
        await _bench.Guest.DisposeAsync();

        Assert.That((_bench.Guest.Status, _bench.Backend.Disposals), Is.EqualTo((GuestBench.Nothing, 1)));
    }

    [Test]
    public async Task Dispose_WhileGuestHasTheCall_BackendIsToldThatItIsGone()
    {
        TaskCompletionSource<TeeReturnCode> told = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _bench.Backend.OnInvoke = async request =>
        {
            TeeReturnCode first = await request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1));
            TeeReturnCode second = await request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1));
            told.SetResult(first == second ? first : TeeReturnCode.Generic);
            return TeeResult.Success;
        };
        SmcRegisters registers =
            StartUntil(conduit == OpTeeSmc.CallWithArgument ? OpTeeSmc.ReturnRpcAllocate : OpTeeSmc.ReturnRpcCommand);

        await _bench.Guest.DisposeAsync();

        Assert.That(await told.Task.WaitAsync(TimeSpan.FromSeconds(10)), Is.EqualTo(TeeReturnCode.Communication));
        Assert.That(registers.X3, Is.Not.Zero);
        Assert.That((_bench.Backend.OpenSessions, _bench.Backend.Disposals), Is.EqualTo((0, 1)));
    }

    [Test]
    public void ExchangeCapabilities_WhileGuestHasTheCall_OldResumeIsRefused()
    {
        _bench.Backend.OnInvoke = async request =>
            TeeResult.FromTee(await request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1)));
        SmcRegisters registers =
            StartUntil(conduit == OpTeeSmc.CallWithArgument ? OpTeeSmc.ReturnRpcAllocate : OpTeeSmc.ReturnRpcCommand);

        _ = _bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);

        Assert.That(_bench.Resume(registers.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(() => _bench.Guest.Status, Is.EqualTo(GuestBench.Nothing).After(5000, 10));
        Assert.That(_bench.Open(), Is.Not.Zero, "The new driver should work.");
    }

    /// <summary>Starts an invocation and resumes it until it asks for something in particular.</summary>
    private SmcRegisters StartUntil(uint asked)
    {
        FakeDriver driver = _bench.Driver;
        driver.WriteMessage(driver.MessagePage, GuestBench.Invocation(_session, 0));
        SmcRegisters registers = driver.Start(driver.MessagePage, 0, 0);
        while ((uint)registers.X0 != asked)
        {
            registers = driver.Step(registers);
        }

        return registers;
    }
}
