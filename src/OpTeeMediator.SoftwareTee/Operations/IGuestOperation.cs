using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>An operation whose guest can be called while it runs.</summary>
internal interface IGuestOperation
{
    /// <summary>The calls to the guest.</summary>
    /// <exception cref="InvalidOperationException">They cannot be made here and now.</exception>
    GuestServices Guest { get; }

    /// <summary>Counts operations, so that what belongs to an earlier one is told apart.</summary>
    int Number { get; }

    /// <summary>Does work on the operation's thread: at once on that thread, else when it waits.</summary>
    ValueTask<TResult> RunAsync<TState, TResult>(TState state, Func<TState, TResult> work);
}
