using OpTeeMediator.Litmus.Primitives;
using Real = System.Threading.Volatile;

namespace OpTeeMediator.Litmus;

/// <summary>Executes a litmus test many times, on two threads.</summary>
/// <remarks>The threads go through some hundred copies of the test side by side: each waits for the other before each
/// copy, but not for long. So the threads meet where both have a processor, and go on where one has none.</remarks>
internal sealed class LitmusRun : IDisposable
{
    private const int Copies = 512;

    // Far apart: else the one's writes would delay the other's.
    private const int Distance = 64;

    // How long a thread spins for the other in a batch, all in all.
    private const int SpinsOfBatch = 1_000_000;

    // A thread begins a round up to so many spins late, so that each order occurs.
    private const int LatestBegin = 32;

    private readonly LitmusTest[] _copies;
    private readonly int[] _progress = new int[3 * Distance];
    private readonly int[][] _seen = [new int[Copies], new int[Copies]];
    private readonly Barrier _barrier = new(2);
    private readonly int _batches;
    private readonly bool _endsWhenFound;
    private bool _isFound;
    private int _forbidden;
    private int _met;
    private int _rounds;
    private Exception? _failure;

    private LitmusRun(Func<LitmusTest> make, int batches, bool endsWhenFound)
    {
        _copies = [.. Enumerable.Range(0, Copies).Select(_ => make())];
        _batches = batches;
        _endsWhenFound = endsWhenFound;
    }

    /// <summary>Counts how often the threads see what is forbidden.</summary>
    /// <param name="make">Makes a copy of the test.</param>
    /// <param name="batches">How often all copies are executed.</param>
    public static LitmusResult Execute(Func<LitmusTest> make, int batches)
    {
        using LitmusRun run = new(make, batches, endsWhenFound: false);
        return run.Run();
    }

    /// <summary>The same where the product's fences are none and its accesses plain, until it is seen.</summary>
    /// <param name="make">Makes a copy of the test.</param>
    /// <param name="batches">How often all copies are executed at most.</param>
    public static LitmusResult ExecuteWithoutFences(Func<LitmusTest> make, int batches)
    {
        using LitmusRun run = new(make, batches, endsWhenFound: true);
        Weakness.IsWeak = true;
        try
        {
            return run.Run();
        }
        finally
        {
            Weakness.IsWeak = false;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _barrier.Dispose();

    private LitmusResult Run()
    {
        // Both are new: the caller's thread is not to be bound to a processor.
        Thread[] threads = [new(() => Serve(0)), new(() => Serve(1))];
        foreach (Thread thread in threads)
        {
            thread.IsBackground = true;
            thread.Start();
        }

        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        return _failure is null
            ? new LitmusResult(_rounds, _met, _forbidden)
            : throw new InvalidOperationException($"{_copies[0].Name} has failed.", _failure);
    }

    private void Serve(int thread)
    {
        ProcessorOfThread.Bind(thread);
        uint random = (uint)thread + 1;
        for (int batch = 0; batch < _batches && !_isFound && _failure is null; batch++)
        {
            if (thread == 0)
            {
                Array.ForEach(_copies, static copy => copy.Prepare());
                _progress[Distance] = 0;
                _progress[2 * Distance] = 0;
            }

            _barrier.SignalAndWait();
            try
            {
                Execute(thread, ref random);
            }
            catch (Exception exception)
            {
                _failure = exception;
            }

            _barrier.SignalAndWait();
            if (thread == 0)
            {
                Count();
            }

            // What the first thread has counted decides whether both go on.
            _barrier.SignalAndWait();
        }
    }

    private void Execute(int thread, ref uint random)
    {
        ref int own = ref _progress[(thread + 1) * Distance];
        ref int other = ref _progress[(2 - thread) * Distance];
        int[] seen = _seen[thread];
        int spins = SpinsOfBatch;
        int met = 0;
        for (int index = 0; index < Copies; index++)
        {
            Func<int> body = thread == 0 ? _copies[index].First : _copies[index].Second;
            Real.Write(ref own, index + 1);
            while (Real.Read(ref other) <= index && spins > 0)
            {
                spins--;
            }

            met += spins > 0 && Real.Read(ref other) <= index + 2 ? 1 : 0;

            // Xorshift.
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            for (uint spin = random % LatestBegin; spin != 0; spin--)
            {
                _ = Real.Read(ref own);
            }

            seen[index] = body();
        }

        if (thread == 0)
        {
            _met += met;
        }
    }

    private void Count()
    {
        _rounds += Copies;
        for (int index = 0; index < Copies; index++)
        {
            _forbidden += _copies[index].IsForbidden(_seen[0][index], _seen[1][index]) ? 1 : 0;
        }

        _isFound = _endsWhenFound && _forbidden != 0;
    }
}
