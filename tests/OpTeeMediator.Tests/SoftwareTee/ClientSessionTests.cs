using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Tests.SoftwareTee.ApplicationPairBench;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Sessions that applications open with each other.</summary>
internal sealed class ClientSessionTests
{
    [Test]
    public async Task OpenSessionWith_Callee_SeesTheCallersUuidAsTrustedApplication()
    {
        ClientIdentity client = default;
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(Open(call, out _)),
            callee => callee.WhenOpened = call =>
            {
                client = call.Client;
                return TeeReturnCode.Success;
            });

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(client, Is.EqualTo(new ClientIdentity(TeeLogin.TrustedApplication, Caller)));
    }

    [Test]
    public async Task OpenSessionWith_RefusedOrUnknown_ReturnsCodeAndOrigin()
    {
        TeeResult refused = default, unknown = default;
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
            {
                refused = call.OpenSessionWith(Callee, [], out ClientSession? session);
                Assert.That(session, Is.Null);
                unknown = call.OpenSessionWith(Guid.NewGuid(), [], out _);
                return new(TeeReturnCode.Success);
            },
            callee => callee.WhenOpened = _ => TeeReturnCode.AccessDenied);

        _ = await bench.InvokeAsync();

        Assert.That(refused, Is.EqualTo(new TeeResult(TeeReturnCode.AccessDenied, TeeOrigin.TrustedApplication)));
        Assert.That(unknown, Is.EqualTo(new TeeResult(TeeReturnCode.ItemNotFound, TeeOrigin.Tee)));
    }

    [Test]
    public async Task Invoke_ValuesAndOwnMemory_GoBothWays()
    {
        byte[] input = [1, 2, 3], output = new byte[8];
        TeeParameter[] parameters =
        [
            TeeParameter.Value(TeeParameterKind.ValueInOut, 40, 2),
            ApplicationMemory.Input(input),
            ApplicationMemory.Output(output),
        ];
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(OpenAndInvoke(call, parameters)),
            callee => callee.WhenInvoked = call =>
            {
                call[0].A += call[0].B;
                Span<byte> copy = stackalloc byte[8];
                Assert.That(call[1].TryReadAll(copy, out ReadOnlySpan<byte> content));
                return new(call[2].Write(content));
            });

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That((parameters[0].A, parameters[2].Size), Is.EqualTo((42ul, 3ul)));
        Assert.That(output, Is.EqualTo(new byte[] { 1, 2, 3, 0, 0, 0, 0, 0 }));
    }

    [Test]
    public async Task Invoke_OutputTooShort_CallerLearnsTheSize()
    {
        TeeParameter[] parameters = [ApplicationMemory.InOut(new byte[2])];
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(OpenAndInvoke(call, parameters)),
            callee => callee.WhenInvoked = call => new(call[0].Write([1, 2, 3])));

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.ShortBuffer));
        Assert.That(parameters[0].Size, Is.EqualTo(3));
    }

    [Test]
    public async Task AsParameter_GuestsMemory_IsSeenByTheOtherApplicationInPlace()
    {
        byte[] guest = new byte[16];
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
                new(OpenAndInvoke(call, call[0].AsParameter(TeeParameterKind.MemoryOutput, 4, 8))),
            callee => callee.WhenInvoked = call => new(call[0].Write([7, 8])));

        TeeReturnCode code = await bench.InvokeAsync(
            TeeParameter.Reference(TeeParameterKind.MemoryInOut, new ArraySharedMemory(guest), 2, 14));

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That(guest, Is.EqualTo(new byte[] { 0, 0, 0, 0, 0, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0 }));
    }

    [TestCase(TeeParameterKind.MemoryOutput, 0, 8)]
    [TestCase(TeeParameterKind.MemoryInOut, 0, 8)]
    [TestCase(TeeParameterKind.ValueInput, 0, 8)]
    [TestCase(TeeParameterKind.MemoryInput, 1, 8)]
    [TestCase(TeeParameterKind.MemoryInput, int.MaxValue, int.MaxValue)]
    public async Task AsParameter_MoreThanTheGuestGave_IsAPanicOfTheCaller(TeeParameterKind kind, int offset, int size)
    {
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(OpenAndInvoke(call, call[0].AsParameter(kind, offset, size))),
            _ => { });

        TeeReturnCode code = await bench.InvokeAsync(
            TeeParameter.Reference(TeeParameterKind.MemoryInput, new ArraySharedMemory(new byte[8]), 0, 8));

        Assert.That(code, Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Callees, Is.Empty);
    }

    [Test]
    public async Task OpenSessionWith_SingleInstance_IsTheOneThatTheGuestSees()
    {
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(OpenAndInvoke(call)), _ => { }, MultiSession);
        _ = await bench.OpenAsync(Callee);

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Callees.Single().Journal,
            Is.EqualTo(["Create", "OpenSession", "OpenSession", "InvokeCommand 0", "CloseSession"]));
    }

    [Test]
    public async Task OpenSessionWith_OnlySessionIsTheGuests_ReturnsBusy()
    {
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(Open(call, out _)),
            _ => { },
            manifest => manifest with { SingleInstance = true });
        _ = await bench.OpenAsync(Callee);

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Busy));
    }

    [Test]
    public async Task OpenSessionWith_CalleeCallsBack_ReturnsBusyToIt()
    {
        TeeReturnCode back = default;
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(OpenAndInvoke(call)),
            callee => callee.WhenInvoked = call =>
            {
                back = call.OpenSessionWith(Caller, [], out _).Code;
                return new(TeeReturnCode.Success);
            },
            MultiSession);

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(back, Is.EqualTo(TeeReturnCode.Busy));
    }

    [Test]
    public async Task OpenSessionWith_TwoOperationsWaitForEachOther_OneGetsBusyAndBothEnd()
    {
        using Barrier bothInside = new(2);
        Func<ApplicationCall, ValueTask<TeeReturnCode>> Cross(Guid other) => call =>
        {
            if (call.CommandId == 1)
            {
                bothInside.SignalAndWait();
                return new(call.OpenSessionWith(other, [], out _).Code);
            }

            return new(TeeReturnCode.Success);
        };
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = Cross(Callee), callee => callee.WhenInvoked = Cross(Caller), MultiSession);
        ITeeSession one = await bench.OpenAsync(Caller), two = await bench.OpenAsync(Callee);

        ThreadRunner<TeeResult> first = new(() => one.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        ThreadRunner<TeeResult> second = new(() => two.InvokeCommandAsync(SoftwareTeeBench.Command(1)));

        TeeReturnCode[] codes = [(await first.Result).Code, (await second.Result).Code];
        Assert.That(codes, Is.EquivalentTo([TeeReturnCode.Busy, TeeReturnCode.Success]));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task Cancel_CallersOperation_ReachesTheOtherUnlessTheCallerMasksIt(bool isUnmasked)
    {
        using ManualResetEventSlim isInside = new();
        using ManualResetEventSlim isCancelled = new();
        bool wasToken = false;
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
            {
                if (isUnmasked)
                {
                    _ = call.UnmaskCancellation();
                }

                return new(OpenAndInvoke(call));
            },
            callee => callee.WhenInvoked = call =>
            {
                _ = call.UnmaskCancellation();
                CancellationToken token = call.CancellationToken;
                isInside.Set();
                TeeReturnCode code = isUnmasked ? call.Wait(Timeout.InfiniteTimeSpan) : WaitFor(isCancelled, call);

                // A wait may see the request a moment before the token is cancelled.
                wasToken = isUnmasked
                    ? token.WaitHandle.WaitOne(TimeSpan.FromMinutes(1)) : token.IsCancellationRequested;
                return new(code);
            });
        ITeeSession session = await bench.OpenAsync(Caller);
        TeeRequest request = SoftwareTeeBench.Command(0);
        ThreadRunner<TeeResult> running = new(() => session.InvokeCommandAsync(request));
        isInside.Wait();

        _ = request.RequestCancellation();
        bench.Partition.Cancel(request);
        isCancelled.Set();

        TeeReturnCode expected = isUnmasked ? TeeReturnCode.Cancel : TeeReturnCode.Success;
        Assert.That((await running.Result).Code, Is.EqualTo(expected));
        Assert.That(wasToken, Is.EqualTo(isUnmasked));
    }

    [Test]
    public async Task Cancel_EndOfTheVm_ReachesTheOtherThoughBothMaskIt()
    {
        using ManualResetEventSlim isInside = new();
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(OpenAndInvoke(call)),
            callee => callee.WhenInvoked = call =>
            {
                isInside.Set();
                return new(call.Wait(Timeout.InfiniteTimeSpan));
            });
        ITeeSession session = await bench.OpenAsync(Caller);
        TeeRequest request = SoftwareTeeBench.Command(0);
        ThreadRunner<TeeResult> running = new(() => session.InvokeCommandAsync(request));
        isInside.Wait();

        _ = request.RequestTermination();
        bench.Partition.Cancel(request);

        Assert.That((await running.Result).Code, Is.EqualTo(TeeReturnCode.Cancel));
    }

    [Test]
    public async Task Invoke_Timeout_CancelsTheOther()
    {
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
            {
                _ = Open(call, out ClientSession? session);
                return new(session!.Invoke(call, 0, [], TimeSpan.FromMilliseconds(1)).Code);
            },
            callee => callee.WhenInvoked = call =>
            {
                _ = call.UnmaskCancellation();
                return new(call.Wait(Timeout.InfiniteTimeSpan));
            });

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Cancel));
    }

    [Test]
    public async Task Invoke_CalleePanics_CallerGetsTargetDeadAndLives()
    {
        TeeResult dead = default;
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
            {
                _ = Open(call, out ClientSession? session);
                dead = session!.Invoke(call, 0, []);
                session.Close(call);
                return new(Open(call, out _));
            },
            callee => callee.WhenInvoked = _ => throw new InvalidOperationException());

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(dead, Is.EqualTo(TeeResult.FromTee(TeeReturnCode.TargetDead)));
        Assert.That(bench.Callees, Has.Count.EqualTo(2));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task Instance_EndsWithOpenSessions_TheyAreClosed(bool panics)
    {
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
            {
                _ = Open(call, out _);
                return panics ? throw new InvalidOperationException() : new(TeeReturnCode.Success);
            },
            _ => { });

        TeeReturnCode code = await bench.InvokeAsync();

        Assert.That(code, Is.EqualTo(panics ? TeeReturnCode.TargetDead : TeeReturnCode.Success));
        Assert.That(bench.Callees.Single().Journal, Is.EqualTo(["Create", "OpenSession", "CloseSession", "Destroy"]));
    }

    [Test]
    public async Task Invoke_SessionClosed_IsAPanic()
    {
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
            {
                _ = Open(call, out ClientSession? session);
                session!.Close(call);
                session.Close(call);
                return new(session.Invoke(call, 0, []).Code);
            },
            _ => { });

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Callees.Single().Journal, Is.EqualTo(["Create", "OpenSession", "CloseSession", "Destroy"]));
    }

    // The callee has opened a session with the caller earlier, and closes it while the caller waits for it.
    [Test]
    public async Task Close_OtherWaitsForThisOperation_IsClosedAfterIt()
    {
        ClientSession? back = null;
        List<string> journal = [];
        await using ApplicationPairBench bench = new(
            caller =>
            {
                caller.WhenInvoked = call =>
                {
                    TeeReturnCode code = OpenAndInvoke(call);
                    journal.Add("caller returns");
                    return new(code);
                };
                caller.WhenClosed = _ => journal.Add("caller closes");
            },
            callee => callee.WhenInvoked = call =>
            {
                if (back is null)
                {
                    return new(call.OpenSessionWith(Caller, [], out back).Code);
                }

                back.Close(call);
                journal.Add("callee returns");
                return new(TeeReturnCode.Success);
            },
            MultiSession);
        ITeeSession toCallee = await bench.OpenAsync(Callee), toCaller = await bench.OpenAsync(Caller);
        Assert.That((await toCallee.InvokeCommandAsync(SoftwareTeeBench.Command(0))).IsSuccess);

        TeeResult result = await new ThreadRunner<TeeResult>(
            () => toCaller.InvokeCommandAsync(SoftwareTeeBench.Command(0))).Result;

        Assert.That(result, Is.EqualTo(TeeResult.Success));
        Assert.That(journal, Is.EqualTo(["callee returns", "caller returns", "caller closes"]));
    }

    [Test]
    public async Task OpenSessionWith_ItselfWithoutEnd_EndsWithOutOfMemory()
    {
        TeeReturnCode last = TeeReturnCode.Success;
        static TeeReturnCode OpenItself(ApplicationCall call) => call.OpenSessionWith(Callee, [], out _).Code;
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(last = OpenItself(call)),
            callee => callee.WhenOpened = OpenItself);
        ITeeSession session = await bench.OpenAsync(Caller);

        _ = await new ThreadRunner<TeeResult>(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(0))).Result;

        Assert.That(last, Is.EqualTo(TeeReturnCode.OutOfMemory));
        Assert.That(bench.Callees.Select(callee => callee.Journal[^1]), Is.All.EqualTo("Destroy"));
    }

    [Test]
    public async Task OpenSessionWith_RandomNumberGenerator_Serves()
    {
        byte[] numbers = new byte[200_000];
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call =>
            {
                _ = call.OpenSessionWith(SoftwareTeeBackend.RandomNumberGeneratorUuid, [], out ClientSession? session);
                return new(session!.Invoke(call, 0, [ApplicationMemory.InOut(numbers)]).Code);
            },
            _ => { });

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(numbers.AsSpan(^16..).ContainsAnyExcept((byte)0));
    }

    [Test]
    public async Task OpenSessionWith_InlineCaller_IsAPanic()
    {
        await using ApplicationPairBench bench = new(
            caller => caller.WhenInvoked = call => new(Open(call, out _)),
            _ => { },
            manifest => manifest with { Execution = TeeExecution.Inline });

        Assert.That(await bench.InvokeAsync(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Callees, Is.Empty);
    }

    private static TeeReturnCode Open(ApplicationCall call, out ClientSession? session) =>
        call.OpenSessionWith(Callee, [], out session).Code;

    private static TeeReturnCode OpenAndInvoke(ApplicationCall call, params Span<TeeParameter> parameters) =>
        Open(call, out ClientSession? session) is var code and not TeeReturnCode.Success
            ? code
            : session!.Invoke(call, 0, parameters).Code;

    private static TeeReturnCode WaitFor(ManualResetEventSlim isSet, ApplicationCall call)
    {
        isSet.Wait();
        return call.IsCancellationRequested ? TeeReturnCode.Cancel : TeeReturnCode.Success;
    }
}
