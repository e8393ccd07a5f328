using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>What a call holds is the mediator's own list: nothing that a backend does to its request
/// can lose a buffer.</summary>
internal sealed class OwnBuffersTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    private GuestBench _bench = null!;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _bench = new GuestBench();
        _session = _bench.Open();
    }

    [TearDown]
    public async Task TearDown() => await _bench.DisposeAsync();

    [Test]
    public void Invoke_BackendReplacesParameters_TemporaryBuffersAreReturned()
    {
        _bench.Backend.OnInvoke = static request =>
        {
            Replace(request);
            return ValueTask.FromResult(TeeResult.Success);
        };

        _ = _bench.Driver.Invoke(_session, 0, Temporary(), GuestParameter.ValueIn(1, 2), Temporary());

        Assert.That(_bench.Guest.Status, Is.EqualTo(GuestBench.Nothing with { Sessions = 1 }));
    }

    [Test]
    public void OpenSession_BackendReplacesParametersAndFails_TemporaryBuffersAreReturned()
    {
        _bench.Backend.OnOpen = static request =>
        {
            Replace(request);
            throw new InvalidOperationException("A backend that fails.");
        };

        _ = _bench.Driver.OpenSession(GuestBench.Application, Temporary());

        Assert.That(_bench.Guest.Status, Is.EqualTo(GuestBench.Nothing with { Sessions = 1 }));
    }

    [Test]
    public async Task ResetAsync_SuspendedCallWhoseParametersTheBackendReplaced_TemporaryBuffersAreReturned()
    {
        TaskCompletionSource<TeeResult> end = new();
        _bench.Backend.OnCancel = _ => end.TrySetResult(TeeResult.Success);
        _bench.Backend.OnInvoke = request =>
        {
            Replace(request);
            return new(end.Task);
        };
        _ = _bench.StartInvoke(_session, Temporary());

        await _bench.Guest.ResetAsync();

        Assert.That(_bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    [Test]
    public void Unregister_BackendReplacedTheParameterThatUsesTheBuffer_WaitsForTheCall()
    {
        TaskCompletionSource<TeeResult> end = new();
        _bench.Backend.OnInvoke = request =>
        {
            Replace(request);
            return new(end.Task);
        };
        _ = _bench.Share(Cookie, 1);
        PendingCall call = _bench.StartInvoke(_session, GuestParameter.RegisteredInOut(0, 16, Cookie));

        PendingCall unregistering = _bench.Start(GuestBench.Unregistering(Cookie));
        int registered = _bench.Backend.RegisteredBuffers;
        end.SetResult(TeeResult.Success);
        _ = _bench.Finish(call);
        _ = _bench.Finish(unregistering);

        Assert.That(unregistering.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That((registered, _bench.Backend.RegisteredBuffers), Is.EqualTo((1, 0)));
    }

    [Test]
    public void Invoke_BackendMakesAnInputAnOutput_MessageKeepsTheInput()
    {
        _bench.Backend.OnInvoke = static request =>
        {
            request.WritableParameters[0] = TeeParameter.Value(TeeParameterKind.ValueOutput, 7, 8);
            request.WritableParameters[1] = TeeParameter.Value(TeeParameterKind.ValueOutput, 7, 8);
            request.WritableParameters[2] = TeeParameter.Value(TeeParameterKind.ValueOutput, 7, 8);
            return ValueTask.FromResult(TeeResult.Success);
        };
        GuestParameter memory = Temporary();
        GuestParameter[] sent = [GuestParameter.ValueIn(1, 2), memory, GuestParameter.ValueInOut(1, 2)];

        GuestMessage answer = _bench.Driver.Invoke(_session, 0, sent);

        Assert.That(answer.Parameters,
            Is.EqualTo(new[] { sent[0], memory with { B = 8 }, sent[2] with { A = 7, B = 8 } }));
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public async Task OpenSession_BackendChangesTheOperationAndThrows_SessionIsNotKept(TeeExecution execution)
    {
        await using GuestBench bench = new(backend: new ScriptedBackend { Execution = execution });
        bench.Backend.OnOpen = static request =>
        {
            request.Operation = (TeeOperation)1234;
            throw new InvalidOperationException("A backend that fails.");
        };

        GuestMessage answer = bench.Driver.OpenSession(GuestBench.Application);

        Assert.That((answer.ReturnCode, answer.Session), Is.EqualTo(((uint)TeeReturnCode.Communication, 0u)));
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    private static void Replace(TeeRequest request) =>
        request.WritableParameters.Fill(TeeParameter.Value(TeeParameterKind.ValueOutput, 1, 2));

    private GuestParameter Temporary() =>
        GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, _bench.Driver.AllocatePage(),
            OpTeeMessage.PageSize, Cookie);
}
