using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Hosting;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>What applications hold is released, however instances and sessions end; and what is logged when a
/// guest makes them end.</summary>
internal sealed class DisposalTests
{
    private const uint Panic = 0;
    private const uint Linger = 1;

    [Test]
    public async Task InvokeCommand_Panics_ApplicationAndContextsOfItsSessionsAreDisposedOf(
        [Values] bool isConcurrent, [Values] bool isAsynchronous, [Values] TeeExecution execution)
    {
        Log log = new(isAsynchronous);
        await using ITeePartition partition =
            Create(log, SoftwareTeeBench.MultiSession with { Concurrent = isConcurrent, Execution = execution });
        ITeeSession session = await OpenAsync(partition);
        ITeeSession other = await OpenAsync(partition);

        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(Panic));
        string[] atOnce = log.Entries;
        await session.CloseAsync();
        await other.CloseAsync();

        Assert.That(result.Code, Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(atOnce,
            Is.EquivalentTo(["create 1", "open", "open", "dispose context", "dispose context", "dispose 1"]));
        Assert.That(log.Entries, Is.EqualTo(atOnce), "Once.");
    }

    [Test]
    public async Task InvokeCommand_PanicsWhileAnotherRuns_IsDisposedOfWhenThatHasReturned()
    {
        Log log = new();
        await using ITeePartition partition = Create(log, SoftwareTeeBench.Concurrent);
        ITeeSession session = await OpenAsync(partition);
        ITeeSession other = await OpenAsync(partition);
        ThreadRunner<TeeResult> lingering = new(() => other.InvokeCommandAsync(SoftwareTeeBench.Command(Linger)));
        lingering.WaitUntilBlocked();

        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(Panic));
        string[] before = log.Entries;
        log.MayLeave.Set();
        _ = await lingering.Result;

        Assert.That(before, Is.EqualTo(["create 1", "open", "open"]));
        Assert.That(log.Entries[3..], Is.EqualTo(["dispose context", "dispose context", "dispose 1"]));
    }

    [Test]
    public async Task InvokeCommand_InlineEntryPointGoesOnAfterItsPanic_IsDisposedOfWhenItHasEnded()
    {
        Log log = new();
        await using ITeePartition partition =
            Create(log, SoftwareTeeBench.PerSession with { Execution = TeeExecution.Inline });
        ITeeSession session = await OpenAsync(partition);

        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(2));
        string[] before = log.Entries;
        log.Overrun.SetResult(TeeReturnCode.Success);

        Assert.That(result.Code, Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(before, Is.EqualTo(["create 1", "open"]));
        Assert.That(() => log.Entries,
            Is.EqualTo(["create 1", "open", "dispose context", "dispose 1"]).After(30_000, 1));
    }

    [Test]
    public async Task CloseAsync_LastSession_ContextThenApplicationAreDisposedOf()
    {
        Log log = new();
        await using ITeePartition partition = Create(log, SoftwareTeeBench.PerSession);

        await (await OpenAsync(partition)).CloseAsync();

        Assert.That(log.Entries, Is.EqualTo(["create 1", "open", "close", "dispose context", "destroy", "dispose 1"]));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task CloseAsync_Panics_AllIsDisposedOf(bool isConcurrent)
    {
        Log log = new() { ClosingPanics = true };
        await using ITeePartition partition =
            Create(log, SoftwareTeeBench.MultiSession with { Concurrent = isConcurrent });

        await (await OpenAsync(partition)).CloseAsync();

        Assert.That(log.Entries, Is.EqualTo(["create 1", "open", "close", "dispose context", "dispose 1"]));
    }

    [TestCase(TeeReturnCode.AccessDenied, "destroy,dispose 1")]
    [TestCase(null, "dispose 1")]
    public async Task OpenSession_Fails_ContextAndInstanceAreDisposedOf(TeeReturnCode? code, string end)
    {
        Log log = new() { Opening = code, OpeningPanics = code is null };
        await using ITeePartition partition = Create(log, SoftwareTeeBench.PerSession);

        _ = await partition.OpenSessionAsync(Opening());

        Assert.That(log.Entries, Is.EqualTo(["create 1", "open", "dispose context", .. end.Split(',')]));
    }

    [TestCase(TeeReturnCode.OutOfMemory)]
    [TestCase(null)]
    public async Task OpenSession_CreateFails_ApplicationIsDisposedOf(TeeReturnCode? code)
    {
        Log log = new() { Creation = code, CreationPanics = code is null };
        await using ITeePartition partition = Create(log, SoftwareTeeBench.PerSession);

        _ = await partition.OpenSessionAsync(Opening());

        Assert.That(log.Entries, Is.EqualTo(["create 1", "dispose 1"]));
    }

    [Test]
    public async Task VmEnds_InstanceKeptAlive_IsDisposedOf([Values] bool isReset, [Values] bool isAsynchronous)
    {
        Log log = new(isAsynchronous);
        await using ITeePartition partition = Create(log, SoftwareTeeBench.KeepAlive);
        await (await OpenAsync(partition)).CloseAsync();

        await (isReset ? partition.ResetAsync() : partition.DisposeAsync());

        Assert.That(log.Entries, Is.EqualTo(["create 1", "open", "close", "dispose context", "destroy", "dispose 1"]));
    }

    [Test]
    public async Task OpenSession_AfterAPanic_PredecessorIsDisposedOfBefore()
    {
        Log log = new();
        await using ITeePartition partition = Create(log, SoftwareTeeBench.KeepAlive);
        ITeeSession session = await OpenAsync(partition);
        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(Panic));

        _ = await OpenAsync(partition);

        Assert.That(log.Entries, Is.EqualTo(["create 1", "open", "dispose context", "dispose 1", "create 2", "open"]));
    }

    [Test]
    public async Task Dispose_Throws_IsLoggedAndTheRestIsDisposedOf()
    {
        using RecordingLoggers loggers = new();
        Log log = new() { DisposalThrows = true };
        await using ITeePartition partition = Create(log, SoftwareTeeBench.PerSession, loggers);

        await (await OpenAsync(partition)).CloseAsync();

        Assert.That(log.Entries[^3..], Is.EqualTo(["dispose context", "destroy", "dispose 1"]));
        Assert.That(loggers.Entries.Select(entry => (entry.Id.Id, entry.Level)),
            Is.EqualTo([(3002, LogLevel.Error), (3003, LogLevel.Debug)]));
    }

    [Test]
    public async Task InvokeCommand_ManyPanics_AreOneErrorAndOthersForDebugging()
    {
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => throw new FormatException());
        for (int round = 0; round < 5; round++)
        {
            ITeeSession session = await bench.OpenAsync();
            _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));
            await session.CloseAsync();
        }

        Assert.That(
            bench.Loggers.Entries.Select(entry => (entry.Id.Id, entry.Level)),
            Is.EqualTo([(3000, LogLevel.Error), .. Enumerable.Repeat((3001, LogLevel.Debug), 4)]));
    }

    [Test]
    public void IsError_IntervalIsOver_IsTrueAndTellsHowManyWereSuppressed()
    {
        ManualTime time = new();
        PanicLog log = new(time);

        List<(bool, int)> answers = [Ask(), Ask(), Ask()];
        time.Ticks += PanicLog.Interval.Ticks;
        answers.AddRange([Ask(), Ask()]);

        Assert.That(answers, Is.EqualTo([(true, 0), (false, 0), (false, 0), (true, 2), (false, 0)]));

        (bool, int) Ask() => (log.IsError(out int quiet), quiet);
    }

    private static TeeRequest Opening() =>
        new() { Operation = TeeOperation.OpenSession, Application = SoftwareTeeBench.PerSession.Uuid };

    private static ITeePartition Create(
        Log log, TrustedApplicationManifest manifest, RecordingLoggers? loggers = null) =>
        new SoftwareTeeBackend(new SoftwareTeeOptions().Add<TrustedApplication>(
            manifest, () => log.IsAsynchronous ? new AsynchronouslyHolding(log) : new Holding(log)))
            .CreatePartition(SoftwareTeeBench.VirtualMachine("vm", loggers ?? new RecordingLoggers()));

    private static async Task<ITeeSession> OpenAsync(ITeePartition partition)
    {
        TeeRequest request = Opening();
        Assert.That(await partition.OpenSessionAsync(request), Is.EqualTo(TeeResult.Success));
        return request.Session!;
    }

    /// <summary>What the applications of a test do, and have done.</summary>
    private sealed class Log(bool isAsynchronous = false)
    {
        private readonly List<string> _entries = [];
        private int _instances;

        public bool IsAsynchronous => isAsynchronous;

        public TeeReturnCode? Creation { get; init; } = TeeReturnCode.Success;

        public bool CreationPanics { get; init; }

        public TeeReturnCode? Opening { get; init; } = TeeReturnCode.Success;

        public bool OpeningPanics { get; init; }

        public bool ClosingPanics { get; init; }

        public bool DisposalThrows { get; init; }

        public ManualResetEventSlim MayLeave { get; } = new();

        public TaskCompletionSource<TeeReturnCode> Overrun { get; } = new();

        public string[] Entries
        {
            get
            {
                lock (_entries)
                {
                    return [.. _entries];
                }
            }
        }

        public int NextInstance() => ++_instances;

        public void Add(string entry)
        {
            lock (_entries)
            {
                _entries.Add(entry);
            }
        }

        public void AddDisposal(string entry)
        {
            Add(entry);
            if (DisposalThrows)
            {
                throw new FormatException();
            }
        }
    }

    private abstract class HoldingApplication(Log log) : TrustedApplication
    {
        protected Log Log => log;

        protected int Number { get; } = log.NextInstance();

        protected abstract object CreateContext();

        protected internal override TeeReturnCode Create()
        {
            log.Add($"create {Number}");
            return log.CreationPanics ? throw new FormatException() : log.Creation!.Value;
        }

        protected internal override TeeReturnCode OpenSession(ApplicationCall call)
        {
            log.Add("open");
            call.SessionContext = CreateContext();
            return log.OpeningPanics ? throw new FormatException() : log.Opening!.Value;
        }

        protected internal override ValueTask<TeeReturnCode> InvokeCommandAsync(ApplicationCall call)
        {
            switch (call.CommandId)
            {
                case Panic:
                    throw new FormatException();

                case Linger:
                    log.MayLeave.Wait();
                    return new(TeeReturnCode.Success);

                default:
                    return new(log.Overrun.Task);
            }
        }

        protected internal override void CloseSession(ApplicationCall call)
        {
            log.Add("close");
            if (log.ClosingPanics)
            {
                throw new FormatException();
            }
        }

        protected internal override void Destroy() => log.Add("destroy");
    }

    private sealed class Holding(Log log) : HoldingApplication(log), IDisposable
    {
        public void Dispose() => Log.AddDisposal($"dispose {Number}");

        protected override object CreateContext() => new Context(Log);

        private sealed class Context(Log log) : IDisposable
        {
            public void Dispose() => log.AddDisposal("dispose context");
        }
    }

    private sealed class AsynchronouslyHolding(Log log) : HoldingApplication(log), IAsyncDisposable
    {
        public ValueTask DisposeAsync()
        {
            Log.AddDisposal($"dispose {Number}");
            return default;
        }

        protected override object CreateContext() => new Context(Log);

        private sealed class Context(Log log) : IAsyncDisposable
        {
            public ValueTask DisposeAsync()
            {
                log.AddDisposal("dispose context");
                return default;
            }
        }
    }

    private sealed class ManualTime : TimeProvider
    {
        public long Ticks { get; set; } = 1;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Ticks;
    }
}
