using System.Collections.Concurrent;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Concurrency;

/// <summary>
/// Four vCPUs at random, each with calls, sessions and buffers of all, while another thread pauses,
/// resets and restarts the guest. What each call and each operation sees is checked, and in the end
/// everything is accounted for.
/// </summary>
/// <remarks>Threads make no sequence come again; the seed tells which one it was, and how likely such a one is. Fewer
/// steps than this show the usual mistakes.</remarks>
internal sealed class StormTests
{
    private const int Vcpus = 4;

    // 2 backends × 4 seeds × 4 vCPUs × 3,300 steps: 105,600 a run.
    private const int Steps = 3300;

    [Test]
    public async Task AnyCalls_FromSeveralThreads_EachIsAnsweredOnceAndNothingIsLeft(
        [Values] TeeExecution execution,
        [Values(1, 2, 3, 4)] int seed)
    {
        ConcurrentQueue<string> faults = new();
        await using StormGuest guest = new(execution, faults);
        using CancellationTokenSource end = new();

        Task chaos = ShakeAsync(guest, new Random(seed), faults, end.Token);
        await Task.WhenAll(Enumerable.Range(0, Vcpus).Select(vcpu => Task.Factory.StartNew(
            () => Drive(guest, new Random((seed * Vcpus) + vcpu), faults), TaskCreationOptions.LongRunning)));
        await end.CancelAsync();
        await chaos;

        // Every second guest dies with its calls in flight.
        if (seed % 2 == 0)
        {
            guest.Drain(new Random(seed), TimeSpan.FromSeconds(20));
        }

        await guest.Bench.Guest.DisposeAsync();
        TestContext.Out.WriteLine(
            $"seed {seed}: {guest.Answered} calls answered, {guest.Tee.Operations} commands performed, "
            + $"{guest.Tee.Rpcs} RPCs answered, {guest.Sleeping} sleeps");
        Assert.That(faults.Distinct(), Is.Empty, $"Seed {seed}.");
        Assert.That(() => guest.Bench.Guest.Status, Is.EqualTo(GuestBench.Nothing).After(10_000, 5));
        Assert.That(() => guest.Tee.Backend.Disposals, Is.EqualTo(1).After(10_000, 5));
        Assert.That((guest.Tee.Backend.OpenSessions, guest.Tee.Backend.RegisteredBuffers), Is.EqualTo((0, 0)));
        Assert.That(guest.Bench.Ram.TryDiscard(new GuestRange(GuestBench.RamStart, GuestBench.RamLength)),
            "No page should be pinned.");
        Assert.That(guest.Bench.Loggers.EventIds.Where(id => id >= 1100), Is.Empty,
            "Nothing should fail on the host's side.");
        Assert.That(guest.Tee.Rpcs, Is.GreaterThan(100), "Otherwise it shows nothing.");
    }

    private static void Drive(StormGuest guest, Random random, ConcurrentQueue<string> faults)
    {
        try
        {
            for (int step = 0; step < Steps && faults.IsEmpty; step++)
            {
                guest.Step(random);
            }
        }
        catch (Exception exception)
        {
            faults.Enqueue($"A vCPU threw {exception}");
        }
    }

    /// <summary>Pauses, resets and restarts the guest until the vCPUs are done.</summary>
    private static async Task ShakeAsync(
        StormGuest guest, Random random, ConcurrentQueue<string> faults, CancellationToken end)
    {
        await Task.Yield();
        try
        {
            while (!end.IsCancellationRequested)
            {
                switch (random.Next(40))
                {
                    case 0:
                        await guest.RestartAsync(isReset: true);
                        break;
                    case 1:
                        await guest.RestartAsync(isReset: false);
                        break;
                    case < 6:
                        await PauseAsync(guest.Bench.Guest, TimeSpan.FromMilliseconds(random.Next(4)));
                        break;
                    default:
                        await Task.Delay(random.Next(8), CancellationToken.None);
                        break;
                }
            }
        }
        catch (Exception exception)
        {
            faults.Enqueue($"The VMM's thread saw {exception}");
        }
    }

    /// <summary>Pauses the VM for a while, unless that does not succeed soon enough.</summary>
    private static async Task PauseAsync(OpTeeGuest guest, TimeSpan soon)
    {
        using CancellationTokenSource withdrawal = new(soon);
        try
        {
            if (await guest.PauseAsync(withdrawal.Token))
            {
                await Task.Delay(1, CancellationToken.None);
                guest.Resume();
            }
        }
        catch (OperationCanceledException)
        {
            // Withdrawn; the VM goes on.
        }
    }
}
