using System.Collections.Concurrent;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.Tests.Samples;

/// <summary>A store that notes when a VM's lease is taken, and when its session is closed.</summary>
/// <param name="inner">The store.</param>
/// <param name="events">Gets a line for each time.</param>
/// <param name="line">The line; <see cref="Closed"/> follows it when the session is closed.</param>
internal sealed class NotedStore(ITeeStore inner, ConcurrentQueue<string> events, string line) : ITeeStore
{
    public const string Closed = ", and closes it";

    public ITeeStoreSession Open(Guid virtualMachine)
    {
        ITeeStoreSession session = inner.Open(virtualMachine);
        events.Enqueue(line);
        return new NotedSession(session, () => events.Enqueue(line + Closed));
    }

    private sealed class NotedSession(ITeeStoreSession inner, Action onClosed) : ITeeStoreSession
    {
        public ITeeStoreTransaction Begin(bool writes) => inner.Begin(writes);

        public void Dispose()
        {
            inner.Dispose();
            onClosed();
        }
    }
}
