using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>
/// Sessions between applications whose closing would wait for an entry point that waits for the closing: they are
/// closed when the guest's operation is inside no application any more.
/// </summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class DeferredClosings
{
    private readonly Dictionary<TeeRequest, Queue<Action>> _closings = [];
    private readonly Lock _lock = new();
    private int _count;

    /// <summary>Defers a closing until the end of the guest's operation.</summary>
    public void Add(TeeRequest root, Action close)
    {
        lock (_lock)
        {
            if (!_closings.TryGetValue(root, out Queue<Action>? closings))
            {
                closings = new Queue<Action>();
                _closings.Add(root, closings);
                _ = Interlocked.Increment(ref _count);
            }

            closings.Enqueue(close);
        }
    }

    /// <summary>Does what the guest's operation has deferred, if there is something.</summary>
    public void Run(TeeRequest root)
    {
        while (Volatile.Read(ref _count) > 0 && Take(root) is { } closings)
        {
            foreach (Action close in closings)
            {
                close();
            }
        }
    }

    private Queue<Action>? Take(TeeRequest root)
    {
        lock (_lock)
        {
            if (_closings.Remove(root, out Queue<Action>? closings))
            {
                _ = Interlocked.Decrement(ref _count);
            }

            return closings;
        }
    }
}
