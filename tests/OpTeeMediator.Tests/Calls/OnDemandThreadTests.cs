using OpTeeMediator.Calls;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>A thread is there while there is work, and a while longer.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class OnDemandThreadTests
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(10);

    [Test]
    public void Constructor_WithoutWork_StartsNoThread()
    {
        string name = NewName();
        _ = new OnDemandThread(static () => { }, name, Long);

        Assert.That(ThreadNames.Count(name), Is.Zero);
    }

    [Test]
    public void Post_AfterReserve_PerformsTheWorkOnOneThreadEachTime()
    {
        string name = NewName();
        using SemaphoreSlim done = new(0);
        HashSet<int> threads = [];
        OnDemandThread? thread = null;
        bool wasCurrent = true;
        thread = new OnDemandThread(
            () =>
            {
                wasCurrent &= thread!.IsCurrent;
                _ = threads.Add(Environment.CurrentManagedThreadId);
                _ = done.Release();
            },
            name,
            Long);

        for (int round = 0; round < 1000; round++)
        {
            thread.Reserve();
            thread.Post();
            done.Wait();
        }

        thread.Stop();
        Assert.That((threads.Count, wasCurrent, thread.IsCurrent), Is.EqualTo((1, true, false)));
        Assert.That(() => ThreadNames.Count(name), Is.Zero.After(10_000, 1));
    }

    [Test]
    public void Idle_ForItsTime_EndsAndIsStartedAgain()
    {
        string name = NewName();
        using SemaphoreSlim done = new(0);
        OnDemandThread thread = new(() => done.Release(), name, TimeSpan.FromMilliseconds(1));
        for (int round = 0; round < 3; round++)
        {
            thread.Reserve();
            thread.Post();
            done.Wait();

            Assert.That(() => ThreadNames.Count(name), Is.Zero.After(10_000, 1));
        }
    }

    /// <summary>Work may come at any moment of the thread's end.</summary>
    [Test]
    public void Post_AsTheThreadIsAboutToEnd_IsPerformed()
    {
        using SemaphoreSlim done = new(0);
        OnDemandThread thread = new(() => done.Release(), NewName(), TimeSpan.FromMilliseconds(1));
        for (int round = 0; round < 300; round++)
        {
            thread.Reserve();
            thread.Post();
            Assert.That(done.Wait(TimeSpan.FromMinutes(1)));
            Thread.Sleep(round % 3);
        }
    }

    [Test]
    public void Reserve_LongBeforePost_KeepsTheThread()
    {
        string name = NewName();
        using SemaphoreSlim done = new(0);
        OnDemandThread thread = new(() => done.Release(), name, TimeSpan.FromMilliseconds(1));
        thread.Reserve();
        Thread.Sleep(100);
        Assert.That(ThreadNames.Count(name), Is.EqualTo(1));

        thread.Stop();
        thread.Post();

        Assert.That(done.Wait(TimeSpan.FromMinutes(1)));
        Assert.That(() => ThreadNames.Count(name), Is.Zero.After(10_000, 1));
    }

    // Linux keeps 15 characters of it.
    private static string NewName() => Guid.NewGuid().ToString("N")[..12];
}
