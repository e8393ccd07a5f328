using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>The guest's operation that runs on a thread: what runs there, for any application, may call the
/// guest.</summary>
/// <remarks>Noted only where something asks for it, as it costs an object for each operation.</remarks>
internal sealed class ThreadOperation : IGuestOperation
{
    [ThreadStatic]
    private static ThreadOperation? t_current;

    private readonly GuestServices _guest;
    private bool _hasEnded;

    private ThreadOperation(GuestServices guest) => _guest = guest;

    /// <summary>That of this thread, if there is one.</summary>
    public static ThreadOperation? Current => t_current;

    public GuestServices Guest => !_hasEnded && t_current == this
        ? _guest
        : throw new InvalidOperationException("The guest can be called only by the thread of a running operation.");

    public int Number => _hasEnded ? 1 : 0;

    /// <summary>Runs an operation of the guest on this thread.</summary>
    public static TResult Run<TState, TResult>(GuestServices? guest, TState state, Func<TState, TResult> work)
    {
        ThreadOperation? outer = t_current;
        ThreadOperation? operation = guest is null ? null : new ThreadOperation(guest);
        t_current = operation;
        try
        {
            return work(state);
        }
        finally
        {
            t_current = outer;
            if (operation is not null)
            {
                operation._hasEnded = true;
            }
        }
    }

    public ValueTask<TResult> RunAsync<TState, TResult>(TState state, Func<TState, TResult> work) => new(work(state));
}
