using OpTeeMediator.Backends;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>A backend that says that it uses no workers and asks for one: nothing that may block runs
/// on a vCPU's thread.</summary>
internal sealed class MissingWorkerTests
{
    private const int WorkerMissing = 1104;
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    private GuestBench _bench = null!;
    private bool _hasRun;
    private int _closed;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _hasRun = false;
        _closed = 0;

        // Asked whether it uses workers when the VM is created: it does not.
        _bench = new GuestBench();
        _bench.Backend.OnOpen = request =>
        {
            request.Session = new SessionOnWorker(this);
            return ValueTask.FromResult(TeeResult.Success);
        };
        _session = _bench.Open();
        _ = _bench.Share(Cookie, 1);
        _bench.Backend.Execution = TeeExecution.Worker;
        _bench.Backend.MemoryExecution = TeeExecution.Worker;
    }

    [TearDown]
    public async Task TearDown() => await _bench.DisposeAsync();

    [Test]
    public void Invoke_SessionAsksForAWorker_IsRefusedAndNotRun()
    {
        GuestMessage answer = _bench.Driver.Invoke(_session, 0);

        Assert.That((answer.ReturnCode, answer.ReturnOrigin),
            Is.EqualTo(((uint)TeeReturnCode.Communication, (uint)TeeOrigin.Communication)));
        Assert.That(_hasRun, Is.False);
    }

    [Test]
    public void OpenSession_AsksForAWorker_IsRefusedAndLeavesNothing()
    {
        GuestMessage answer = _bench.Driver.OpenSession(GuestBench.Application);

        Assert.That((answer.ReturnCode, answer.Session), Is.EqualTo(((uint)TeeReturnCode.Communication, 0u)));
        Assert.That((_bench.Backend.OpenSessions, _bench.Guest.Status.Sessions), Is.EqualTo((1, 1)));
    }

    [Test]
    public void Register_AsksForAWorker_IsRefusedAndLeavesNothing()
    {
        ulong page = _bench.Driver.AllocatePage();

        GuestMessage answer = _bench.Driver.Register([page], 0, 4096, Cookie + 8);

        Assert.That(answer.ReturnCode, Is.EqualTo((uint)TeeReturnCode.Communication));
        Assert.That((_bench.Backend.RegisteredBuffers, _bench.Guest.Status.Buffers), Is.EqualTo((1, 1)));
    }

    [Test]
    public async Task CloseSession_AsksForAWorker_IsRefusedAndClosedByTheTeardown()
    {
        uint answer = _bench.Driver.CloseSession(_session).ReturnCode;
        int closed = _closed;

        await _bench.Guest.ResetAsync();

        Assert.That((answer, closed, _closed), Is.EqualTo(((uint)TeeReturnCode.Communication, 0, 1)));
    }

    [Test]
    public async Task Unregister_AsksForAWorker_IsRefusedAndEndedByTheTeardown()
    {
        uint answer = _bench.Driver.Unregister(Cookie).ReturnCode;
        (int, int) held = (_bench.Backend.RegisteredBuffers, _bench.Guest.Status.Buffers);

        await _bench.Guest.ResetAsync();

        Assert.That((answer, held), Is.EqualTo(((uint)TeeReturnCode.Communication, (1, 1))));
        Assert.That((_bench.Backend.RegisteredBuffers, _bench.Guest.Status), Is.EqualTo((0, GuestBench.Nothing)));
    }

    [Test]
    public void Invoke_SessionAsksForAWorkerAgainAndAgain_IsLoggedOnceWithTheReason()
    {
        _ = _bench.Driver.Invoke(_session, 0);
        _ = _bench.Driver.Invoke(_session, 0);

        Assert.That(_bench.Loggers.EventIds.Count(id => id == WorkerMissing), Is.EqualTo(1));
        Assert.That(_bench.Loggers.Messages, Has.Some.Contains("UsesWorkers"));
    }

    private sealed class SessionOnWorker(MissingWorkerTests test) : ITeeSession
    {
        public TeeExecution Execution => TeeExecution.Worker;

        public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
        {
            test._hasRun = true;
            return ValueTask.FromResult(TeeResult.Success);
        }

        public ValueTask CloseAsync(TeeRequest request)
        {
            test._closed++;
            return ValueTask.CompletedTask;
        }
    }
}
