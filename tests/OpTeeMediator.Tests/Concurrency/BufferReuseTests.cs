using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Concurrency;

/// <summary>
/// Three vCPUs invoke with a buffer that a fourth registers and unregisters, while a fifth changes their
/// messages: each call may find the buffer, lose it, and fail early. What the mediator recycles meanwhile becomes the
/// temporary buffer of a call that the backend holds.
/// </summary>
internal sealed class BufferReuseTests
{
    private const int Attackers = 3;
    private const ulong PagesOfOne = 1 << 20;
    private const ulong Cookie = 0x20;
    private const int Rounds = 300;

    // With OPTEE_MEDIATOR_FULL.
    private static readonly TimeSpan Duration = TimeSpan.FromMinutes(10);

    private readonly ManualResetEventSlim _go = new(false);
    private volatile bool _isOver;
    private long _attacks;

    [OneTimeTearDown]
    public void DisposeOfEvent() => _go.Dispose();

    [Test]
    public async Task Invoke_BuffersAreTakenAwayAndReused_CallInTheBackendKeepsItsOwn()
    {
        await using GuestBench bench = new(
            new OpTeeGuestOptions { Quantum = TimeSpan.Zero, Limits = new OpTeeLimits { Calls = 16 } },
            new ScriptedBackend { Execution = TeeExecution.Worker });
        TwoSessions(bench.Backend);
        uint quick = bench.Open();
        uint slow = bench.Open();
        FakeDriver[] attackers = [.. Enumerable.Range(1, Attackers).Select(index => Driver(bench, index))];
        List<Task> threads =
            [.. attackers.Select(attacker => Run(() => Attack(attacker, quick))), Run(() => ChangeMessages(attackers))];

        int rounds = 0;
        int unpinned = 0;
        long start = Stopwatch.GetTimestamp();
        bool isFull = !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_FULL"));
        while (isFull ? Stopwatch.GetElapsedTime(start) < Duration : rounds < Rounds)
        {
            unpinned += Round(bench, slow, rounds) ? 0 : 1;
            rounds++;
        }

        _isOver = true;
        await Task.WhenAll(threads);
        _ = bench.Driver.CloseSession(quick);
        _ = bench.Driver.CloseSession(slow);

        TestContext.Out.WriteLine(
            $"{rounds} rounds and {_attacks} calls of {Attackers} attackers in {Stopwatch.GetElapsedTime(start)}: "
            + $"{unpinned} times unpinned in use, {bench.Guest.Status} at the end");
        Assert.That(unpinned, Is.Zero, "The page of a call that is in the backend should be pinned.");
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
        Assert.That(bench.Ram.TryDiscard(new GuestRange(GuestBench.RamStart, GuestBench.RamLength)),
            "No page should be pinned.");
    }

    /// <summary>Takes the attackers' buffer away, then has the backend hold a call with a temporary one.</summary>
    /// <returns>Whether that was pinned as long as the backend held it.</returns>
    private bool Round(GuestBench bench, uint slow, int round)
    {
        ulong page = GuestBench.FreePages;
        ulong temporary = page + OpTeeMessage.PageSize;
        FakeDriver driver = bench.Driver;
        driver.Write(page + (2 * OpTeeMessage.PageSize), [page]);
        ulong list = page + (2 * OpTeeMessage.PageSize);
        _ = driver.Send(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(list, OpTeeMessage.PageSize, Cookie)));
        Thread.SpinWait(round % 64 * 500);
        _ = driver.Send(GuestBench.Unregistering(Cookie));

        _go.Reset();
        SmcRegisters held = driver.Start(GuestBench.Invocation(
            slow, 0, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, temporary, OpTeeMessage.PageSize, 7)));
        bool isPinned = true;
        for (int look = 0; look < 4; look++)
        {
            // Discards the page if it is not pinned: no attacker uses it.
            Thread.Sleep(1);
            isPinned &= !bench.Ram.TryDiscard(new GuestRange(temporary, OpTeeMessage.PageSize));
        }

        _go.Set();
        _ = driver.Finish(held);
        return isPinned;
    }

    private void Attack(FakeDriver attacker, uint session)
    {
        GuestParameter[] parameters =
            [.. Enumerable.Repeat(GuestParameter.RegisteredIn(0, OpTeeMessage.PageSize, Cookie), 4)];
        attacker.WriteMessage(attacker.MessagePage, GuestBench.Invocation(session, 0, parameters));
        while (!_isOver)
        {
            SmcRegisters registers =
                attacker.Call(OpTeeSmc.CallWithArgument, attacker.MessagePage >> 32, (uint)attacker.MessagePage);
            while ((uint)registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
            {
                registers = attacker.Step(registers);
            }

            _ = Interlocked.Increment(ref _attacks);
        }
    }

    // Between an invocation and a CLOSE_SESSION with parameters, which is refused: what one attempt has found
    // the next one does not look for.
    private void ChangeMessages(FakeDriver[] attackers)
    {
        for (uint turn = 0; !_isOver; turn++)
        {
            uint command = turn % 2 == 0 ? OpTeeMessage.CommandInvoke : OpTeeMessage.CommandCloseSession;
            foreach (FakeDriver attacker in attackers)
            {
                attacker.Write(attacker.MessagePage, [command]);
            }

            Thread.SpinWait(200);
        }
    }

    private void TwoSessions(ScriptedBackend backend)
    {
        int opened = 0;
        backend.OnExecutionOf = _ => opened++ == 0 ? TeeExecution.Inline : TeeExecution.Worker;
        backend.OnOpen = request =>
        {
            request.Session = new Holder(opened == 1 ? null : _go);
            return ValueTask.FromResult(TeeResult.Success);
        };
    }

    private static FakeDriver Driver(GuestBench bench, int index) => new(
        bench.Guest, bench.Ram, new GuestRange(GuestBench.FreePages - ((ulong)index * PagesOfOne), PagesOfOne));

    private static Task Run(Action action) => Task.Factory.StartNew(action, TaskCreationOptions.LongRunning);

    /// <summary>A session whose commands end at once, or when they may.</summary>
    private sealed class Holder(ManualResetEventSlim? go) : ITeeSession
    {
        public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
        {
            go?.Wait();
            return ValueTask.FromResult(TeeResult.Success);
        }
    }
}
