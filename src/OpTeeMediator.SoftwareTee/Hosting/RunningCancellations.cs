using OpTeeMediator.Backends;

namespace OpTeeMediator.Software.Hosting;

/// <summary>The cancellation tokens of one partition's running operations; only operations that asked for a token are in it.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class RunningCancellations
{
    private readonly Dictionary<TeeRequest, CancellationTokenSource> _sources = [];
    private readonly Lock _lock = new();

    /// <summary>The token of a running operation.</summary>
    /// <param name="request">The operation.</param>
    /// <returns>Its token, cancelled already if that was requested.</returns>
    public CancellationToken TokenOf(TeeRequest request)
    {
        lock (_lock)
        {
            if (!_sources.TryGetValue(request, out CancellationTokenSource? source))
            {
                source = new CancellationTokenSource();
                _sources.Add(request, source);

                // Cancel() looks here after the flag is set: one of the two sees the other.
                if (request.IsCancellationRequested)
                {
                    source.Cancel();
                }
            }

            return source.Token;
        }
    }

    /// <summary>Cancels an operation's token, if it has one. The token's callbacks run on the thread pool, never on this vCPU's thread.</summary>
    /// <param name="request">The operation.</param>
    public void Cancel(TeeRequest request)
    {
        lock (_lock)
        {
            if (_sources.TryGetValue(request, out CancellationTokenSource? source))
            {
                _ = source.CancelAsync();
            }
        }
    }

    /// <summary>Ends an operation that has asked for its token.</summary>
    /// <param name="request">The operation.</param>
    public void Remove(TeeRequest request)
    {
        lock (_lock)
        {
            // Not disposed of: callbacks may still run, and without a timer there is nothing to free.
            _ = _sources.Remove(request);
        }
    }
}
