using System.Text;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.ExplorationTests.Scheduling;

/// <summary>Runs a scenario under many orders of its threads, each given by a seed.</summary>
/// <remarks>
/// <para>One thread has its turn at a time. At each operation of a synchronisation primitive it asks which goes on. Odd
/// seeds choose at random; even ones let the thread with the highest priority go on, and change the priorities at a
/// few random points (probabilistic concurrency testing), which finds orders that need a long stay away.</para>
/// <para>Time stands still: a wait does not end by its deadline. When none can go on, the finding is a deadlock, or a
/// wake-up that was lost and that the deadline would have hidden.</para>
/// <para>Threads that the core starts are explored ones too: <see cref="Scenario.StartedThreads"/> are kept ready. The
/// core's interleaving points (<see cref="InterleavingPoint"/>) are scheduling points.</para>
/// </remarks>
internal sealed class Explorer : IDisposable
{
    private const int MaximumSteps = 10_000;
    private const int MaximumPointsUnwound = 100;
    private const int PriorityChanges = 3;

    [ThreadStatic]
    private static ControlledThread? s_current;

    private static Explorer? s_active;

    private readonly ControlledThread[] _threads;
    private readonly AutoResetEvent _done = new(false);
    private readonly Dictionary<object, (ControlledThread Holder, int Depth)> _locks =
        new(ReferenceEqualityComparer.Instance);

    private readonly Dictionary<ControlledThread, object> _pulseTargets = [];
    private readonly List<(int Thread, string Operation)> _trace = [];
    private readonly int[] _changes = new int[PriorityChanges];
    private Random _random = new(0);
    private bool _usesPriorities;
    private bool _isStopped;
    private string? _finding;

    private Explorer(Scenario first)
    {
        _threads = new ControlledThread[first.Threads.Length + first.StartedThreads];
        for (int index = 0; index < _threads.Length; index++)
        {
            _threads[index] = new ControlledThread(index, Serve);
        }
    }

    /// <summary>What the core has for the explored thread that runs; null outside of schedules.</summary>
    public static Thread? CurrentThread =>
        s_current is { } current ? current.Thread ??= new Thread(static () => { }) : null;

    /// <summary>Runs schedules until one has a finding. Describes it with its seed and its steps; null without one.
    /// </summary>
    public static string? Explore(Func<Scenario> make, int schedules, int firstSeed = 1)
    {
        using Explorer explorer = new(make());
        s_active = explorer;
        InterleavingPoint.Reached = Reach;
        try
        {
            for (int seed = firstSeed; seed < firstSeed + schedules; seed++)
            {
                if (explorer.Run(make(), seed) is { } finding)
                {
                    return finding;
                }
            }

            return null;
        }
        finally
        {
            InterleavingPoint.Reached = null;
            s_active = null;
        }
    }

    /// <summary>Ends the schedule with a finding. Unlike an exception it cannot be caught by the core.</summary>
    public static void Fail(string finding)
    {
        s_active!._finding ??= finding;
        Reach("finding");
    }

    /// <summary>The core starts a thread.</summary>
    public static void Start(Thread thread, Action body)
    {
        Reach("Thread.Start");
        ControlledThread started = Array.Find(s_active!._threads, static candidate => candidate.IsFinished)
            ?? throw new InvalidOperationException("The scenario keeps too few threads ready.");
        started.Thread = thread;
        started.Body = body;
        started.MayGoOn = null;
        started.IsFinished = false;
    }

    /// <summary>A scheduling point.</summary>
    public static void Reach(string operation)
    {
        if (s_current is { } current && !IsToUnwind(current))
        {
            s_active!.Switch(current, operation, isYield: false);
        }
    }

    public static void Yield()
    {
        if (s_current is { } current && !IsToUnwind(current))
        {
            s_active!.Switch(current, "SpinOnce", isYield: true);
        }
    }

    public static void WaitUntil(Func<bool> condition, string operation)
    {
        if (s_current is not { } current)
        {
            Assert.That(condition(), Is.True, "Only explored threads may wait.");
            return;
        }

        if (!IsToUnwind(current))
        {
            current.MayGoOn = condition;
            s_active!.Switch(current, operation, isYield: false);
        }
    }

    public static void Enter(object target)
    {
        if (s_current is not { IsUnwinding: false } current)
        {
            return;
        }

        Explorer active = s_active!;
        WaitUntil(() => !active._locks.TryGetValue(target, out var taken) || taken.Holder == current, "lock");
        int depth = active._locks.TryGetValue(target, out var held) ? held.Depth : 0;
        active._locks[target] = (current, depth + 1);
    }

    public static void Exit(object target)
    {
        if (s_current is not { IsUnwinding: false } current)
        {
            return;
        }

        Explorer active = s_active!;
        int depth = active._locks[target].Depth;
        if (depth > 1)
        {
            active._locks[target] = (current, depth - 1);
            return;
        }

        _ = active._locks.Remove(target);
        Reach("unlock");
    }

    public static bool WaitForPulse(object target)
    {
        Explorer active = s_active!;
        ControlledThread current = s_current!;
        int depth = active._locks[target].Depth;
        _ = active._locks.Remove(target);
        current.IsPulsed = false;
        active._pulseTargets[current] = target;
        WaitUntil(() => current.IsPulsed && !active._locks.ContainsKey(target), "Monitor.Wait");
        active._locks[target] = (current, depth);
        return true;
    }

    public static void PulseAll(object target)
    {
        if (s_active is { } active)
        {
            foreach ((ControlledThread thread, object waitsFor) in active._pulseTargets)
            {
                thread.IsPulsed |= waitsFor == target;
            }
        }
    }

    public void Dispose()
    {
        _isStopped = true;
        foreach (ControlledThread thread in _threads)
        {
            thread.GiveTurn();
        }
    }

    // A handler in the core may have caught what ends the schedule: after a while it is thrown again.
    private static bool IsToUnwind(ControlledThread thread)
    {
        if (thread.IsUnwinding && ++thread.PointsUnwound > MaximumPointsUnwound)
        {
            throw new ScheduleEndedException();
        }

        return thread.IsUnwinding;
    }

    private string? Run(Scenario scenario, int seed)
    {
        _random = new Random(seed);
        _usesPriorities = seed % 2 == 0;
        _finding = null;
        _trace.Clear();
        _locks.Clear();
        _pulseTargets.Clear();
        for (int change = 0; change < PriorityChanges; change++)
        {
            _changes[change] = _random.Next(scenario.Steps);
        }

        for (int index = 0; index < _threads.Length; index++)
        {
            ControlledThread thread = _threads[index];
            bool begins = index < scenario.Threads.Length;
            thread.Body = begins ? scenario.Threads[index] : null;
            thread.IsFinished = !begins;
            thread.IsUnwinding = false;
            thread.PointsUnwound = 0;
            thread.Thread = null;
            thread.MayGoOn = null;
            thread.Priority = _random.Next(1, int.MaxValue);
        }

        Choose(null)!.GiveTurn();
        _ = _done.WaitOne();
        if (_finding is null)
        {
            try
            {
                scenario.Check();
            }
            catch (InvalidOperationException wrong)
            {
                _finding = wrong.Message;
            }
        }

        return _finding is null ? null : Describe(seed);
    }

    private void Serve(ControlledThread thread)
    {
        s_current = thread;
        while (true)
        {
            thread.AwaitTurn();
            if (_isStopped)
            {
                return;
            }

            try
            {
                if (_finding is null)
                {
                    thread.Body!();
                }
            }
            catch (ScheduleEndedException)
            {
                // The finding is kept already.
            }
            catch (Exception exception)
            {
                _finding ??= $"{exception.GetType().Name}: {exception.Message}";
            }

            thread.IsFinished = true;
            ControlledThread? next = Choose(null);
            if (next is null && Array.Exists(_threads, static other => !other.IsFinished))
            {
                _finding = "None can go on.";
                next = Choose(null);
            }

            (next is null ? (Action)(() => _done.Set()) : next.GiveTurn)();
        }
    }

    private void Switch(ControlledThread current, string operation, bool isYield)
    {
        if (_finding is null)
        {
            _trace.Add((current.Index, operation));
            if (_trace.Count > MaximumSteps)
            {
                _finding = "It goes on for ever.";
            }
            else if (Array.IndexOf(_changes, _trace.Count) >= 0 || isYield)
            {
                current.Priority = -_trace.Count;
            }
        }

        ControlledThread? next = _finding is null ? Choose(isYield ? current : null) : current;
        if (next is null)
        {
            _finding = "None can go on.";
            next = current;
        }

        if (next != current)
        {
            next.GiveTurn();
            current.AwaitTurn();
        }

        current.MayGoOn = null;
        if (_finding is not null)
        {
            current.IsUnwinding = true;
            throw new ScheduleEndedException();
        }
    }

    // With a finding, each thread that is left gets its turn to end.
    private ControlledThread? Choose(ControlledThread? unwanted)
    {
        ControlledThread? chosen = null;
        int candidates = 0;
        foreach (ControlledThread thread in _threads)
        {
            if (thread.IsFinished || thread == unwanted || (_finding is null && thread.MayGoOn?.Invoke() == false))
            {
                continue;
            }

            candidates++;
            bool isBetter = _usesPriorities
                ? chosen is null || thread.Priority > chosen.Priority
                : _random.Next(candidates) == 0;
            chosen = isBetter ? thread : chosen;
        }

        return chosen ?? (unwanted is { IsFinished: false } ? unwanted : null);
    }

    private string Describe(int seed)
    {
        StringBuilder text = new();
        _ = text.Append(null, $"Seed {seed}: {_finding}\n");
        foreach ((int thread, string operation) in _trace.TakeLast(100))
        {
            _ = text.Append(null, $"  thread {thread}: {operation}\n");
        }

        return text.ToString();
    }
}
