using System.Collections.Concurrent;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.Tests.Samples;

/// <summary>A store that notes when a VM's lease is taken.</summary>
/// <param name="inner">The store.</param>
/// <param name="events">Gets a line for each time.</param>
/// <param name="line">The line.</param>
internal sealed class NotedStore(ITeeStore inner, ConcurrentQueue<string> events, string line) : ITeeStore
{
    public ITeeStoreSession Open(Guid virtualMachine)
    {
        ITeeStoreSession session = inner.Open(virtualMachine);
        events.Enqueue(line);
        return session;
    }
}
