namespace OpTeeMediator;

/// <summary>The core queues work only where it cannot start a thread, and here it always can.</summary>
internal static class ThreadPool
{
    public static bool UnsafeQueueUserWorkItem<T>(Action<T> work, T state, bool preferLocal) =>
        throw new InvalidOperationException($"Work was queued: {work}, {state}, {preferLocal}.");
}
