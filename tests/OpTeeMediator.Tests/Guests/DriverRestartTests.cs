using System.Collections.Concurrent;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Guests;

/// <summary>A guest that starts its driver again and again decides how often drivers are torn
/// down, and nothing else.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class DriverRestartTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const int Rounds = 1000;

    /// <summary>The two threads that take part are measured, the guest's and the one that tears down; others
    /// do not disturb it.</summary>
    [Test]
    public async Task ExchangeCapabilities_AgainAndAgainWithABufferRegistered_OneThreadAndNoGarbage()
    {
        ConcurrentDictionary<int, long> threads = new();
        ConcurrentDictionary<int, long> bytesAtFirst = new();
        ScriptedBackend backend = new()
        {
            OnUnregister = buffer =>
            {
                long bytes = GC.GetAllocatedBytesForCurrentThread();
                _ = bytesAtFirst.TryAdd(Environment.CurrentManagedThreadId, bytes);
                threads[Environment.CurrentManagedThreadId] = bytes;
                return ValueTask.CompletedTask;
            },
        };
        OpTeeGuestOptions options = new() { Quantum = TimeSpan.FromSeconds(1) };
        await using GuestBench bench = new(options, backend);
        ulong list = bench.Driver.WritePageList([bench.Driver.AllocatePage()]);
        ulong page = bench.Driver.AllocatePage();
        bench.Driver.WriteMessage(
            page, new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                GuestParameter.PageList(list, 0x1000, Cookie)));
        for (int warmUp = 0; warmUp < 20; warmUp++)
        {
            Restart(bench, page);
        }

        threads.Clear();
        bytesAtFirst.Clear();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int round = 0; round < Rounds; round++)
        {
            Restart(bench, page);
        }

        long guestsBytes = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.That(threads, Has.Count.EqualTo(1), "Threads that tear down.");
        long bytesOfTeardowns = threads.Sum(thread => thread.Value - bytesAtFirst[thread.Key]);

        // The bench's logger keeps one entry a round; the test's backend and the runtime's waiting allocate a little.
        Assert.That(guestsBytes / Rounds, Is.LessThan(2000), "Bytes a round on the guest's thread.");
        Assert.That(bytesOfTeardowns / Rounds, Is.LessThan(200), "Bytes a round on the thread that tears down.");
        Assert.That(bench.Backend.RegisteredBuffers, Is.Zero);
    }

    [Test]
    public async Task ExchangeCapabilities_InstanceIsUsedAgain_SessionIdsAndBuffersOfEarlierDriversFindNothing()
    {
        OpTeeGuestOptions options = new() { Quantum = TimeSpan.FromSeconds(1) };
        await using GuestBench bench = new(options);
        List<uint> sessions = [];
        for (int round = 0; round < 10; round++)
        {
            sessions.Add(bench.Open());
            _ = bench.Share(Cookie + (ulong)round, 1);
            _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        }

        uint own = bench.Open();
        uint[] codes = [.. sessions.Select(session => bench.Driver.Invoke(session, 0).ReturnCode)];
        uint[] unregistered =
            [.. sessions.Select((_, round) => bench.Driver.Unregister(Cookie + (ulong)round).ReturnCode)];

        Assert.That(sessions, Does.Not.Contain(own));
        Assert.That(codes, Is.All.EqualTo(0xffff_0006u));
        Assert.That(unregistered, Is.All.EqualTo(0xffff_0006u));
        Assert.That(bench.Driver.Invoke(own, 0).ReturnCode, Is.Zero);
    }

    /// <summary>A driver whose calls have ended is torn down though an earlier one's call is with
    /// the backend still.</summary>
    [Test]
    public async Task ExchangeCapabilities_EarlierDriversCallDoesNotEnd_LaterDriverIsTornDown()
    {
        TaskCompletionSource<Backends.TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GuestBench bench = new(new OpTeeGuestOptions { Quantum = TimeSpan.FromMilliseconds(1) });
        bench.Backend.OnInvoke = _ => new ValueTask<Backends.TeeResult>(end.Task);
        uint session = bench.Open();
        _ = bench.StartInvoke(session);
        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        _ = bench.Share(Cookie, 1);
        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities);

        Assert.That(() => bench.Backend.RegisteredBuffers, Is.Zero.After(10_000, 1));
        Assert.That(bench.Backend.OpenSessions, Is.EqualTo(1), "Of the call that did not end.");
        end.SetResult(Backends.TeeResult.Success);
        await bench.Guest.ResetAsync();
        Assert.That(bench.Backend.OpenSessions, Is.Zero);
    }

    [Test]
    public async Task ResetAsync_EarlierDriversBufferIsBeingUnregistered_EndsWhenItIs()
    {
        TaskCompletionSource end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GuestBench bench = new(new OpTeeGuestOptions { Quantum = TimeSpan.FromMilliseconds(1) });
        bench.Backend.OnUnregister = _ => new ValueTask(end.Task);
        _ = bench.Share(Cookie, 1);
        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities);

        Task reset = bench.Guest.ResetAsync();
        bool hasEndedEarly = SpinWait.SpinUntil(() => reset.IsCompleted, 200);
        end.SetResult();
        await reset;

        Assert.That(hasEndedEarly, Is.False);
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    private static void Restart(GuestBench bench, ulong page)
    {
        uint registered = (uint)bench.Driver.Call(OpTeeSmc.CallWithArgument, page >> 32, (uint)page).X0;
        uint exchanged = (uint)bench.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0;
        if (registered != OpTeeSmc.ReturnOk || exchanged != OpTeeSmc.ReturnOk)
        {
            throw new InvalidOperationException(
                $"REGISTER_SHM was answered {registered}, EXCHANGE_CAPABILITIES {exchanged}.");
        }
    }
}
