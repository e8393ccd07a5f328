using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.InterleavingTests;

/// <summary>Decides in which order threads pass the core's interleaving points.</summary>
/// <remarks>
/// <para>A test says at which point the next thread stops (<see cref="StopAt"/>), waits until it is there, does what is
/// to happen meanwhile, and releases it. Or it says what the thread that reaches the point does there itself
/// (<see cref="DoAt"/>).</para>
/// <para>Nothing waits for longer than <see cref="Deadline"/>: a stopped thread goes on, a waiting one gets
/// a <see cref="TimeoutException"/>, and disposal fails the test. One controller at a time.</para>
/// </remarks>
internal sealed class InterleavingController : IDisposable
{
    /// <summary>Far longer than anything takes; for tests that would hang otherwise.</summary>
    public static readonly TimeSpan Deadline = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private readonly List<(string Point, Action Action)> _actions = [];
    private readonly List<Stop> _stops = [];
    private readonly List<Task> _threads = [];

    public InterleavingController() => InterleavingPoint.Reached = OnReached;

    /// <summary>The next thread that reaches a point stops there until it is released.</summary>
    public Stop StopAt(string point)
    {
        Stop stop = new(point);
        _stops.Add(stop);
        DoAt(point, stop.Enter);
        return stop;
    }

    /// <summary>The next thread that reaches a point, and nobody after it, does something there.</summary>
    /// <remarks>Several actions for one point are done in the order given, one for each time that
    /// the point is reached.</remarks>
    public void DoAt(string point, Action action)
    {
        lock (_lock)
        {
            _actions.Add((point, action));
        }
    }

    /// <summary>Runs a vCPU, or whatever else has a thread of its own. What it throws fails
    /// <see cref="Join"/> and disposal.</summary>
    public Task<T> Run<T>(Func<T> action)
    {
        Task<T> thread = Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        _threads.Add(thread);
        return thread;
    }

    /// <inheritdoc cref="Run{T}"/>
    public Task Run(Action action) => Run(() =>
    {
        action();
        return 0;
    });

    /// <summary>What a thread has returned, when it has ended.</summary>
    public static T Join<T>(Task<T> thread) => thread.WaitAsync(Deadline).GetAwaiter().GetResult();

    /// <summary>Releases all that are stopped, and waits until all threads have ended.</summary>
    /// <exception cref="InvalidOperationException">A point was not reached, or a thread was
    /// stopped for too long.</exception>
    public void Dispose()
    {
        foreach (Stop stop in _stops)
        {
            stop.Release();
        }

        try
        {
            Task.WhenAll(_threads).WaitAsync(Deadline).GetAwaiter().GetResult();
        }
        finally
        {
            InterleavingPoint.Reached = null;
        }

        if (_stops.Find(stop => stop.IsOverdue) is { } overdue)
        {
            throw new InvalidOperationException(
                $"The thread that stopped at \"{overdue.Point}\" was not released within {Deadline}.");
        }

        if (_actions.Count != 0)
        {
            throw new InvalidOperationException($"No thread has reached \"{_actions[0].Point}\".");
        }
    }

    private void OnReached(string point)
    {
        Action? action = null;
        lock (_lock)
        {
            int index = _actions.FindIndex(entry => entry.Point == point);
            if (index >= 0)
            {
                action = _actions[index].Action;
                _actions.RemoveAt(index);
            }
        }

        action?.Invoke();
    }
}
