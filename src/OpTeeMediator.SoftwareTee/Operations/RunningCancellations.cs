using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>The tokens of one partition's running operations; only of those that have asked for one.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class RunningCancellations
{
    private readonly Dictionary<TeeRequest, RunningToken> _running = [];
    private readonly Lock _lock = new();

    /// <summary>The token of a running operation.</summary>
    /// <returns>Its token, cancelled already if that was requested and is not masked.</returns>
    public CancellationToken TokenOf(TeeRequest request, OperationCancellation cancellation)
    {
        lock (_lock)
        {
            if (!_running.TryGetValue(request, out RunningToken? running))
            {
                running = new RunningToken(new CancellationTokenSource(), cancellation);
                _running.Add(request, running);

                // Cancel() looks here after the flag is set: one of the two sees the other.
                if (cancellation.IsRequested)
                {
                    running.Source.Cancel();
                }
            }

            return running.Source.Token;
        }
    }

    /// <summary>
    /// Cancels the tokens of operations that are to end early and do not mask it, with those that they have made.
    /// Called when either has changed. The tokens' callbacks run on the thread pool, never on this vCPU's thread.
    /// </summary>
    public void CancelRequested()
    {
        lock (_lock)
        {
            foreach (RunningToken running in _running.Values)
            {
                if (running.Cancellation.IsRequested)
                {
                    _ = running.Source.CancelAsync();
                }
            }
        }
    }

    /// <summary>Ends an operation that has asked for its token.</summary>
    public void Remove(TeeRequest request)
    {
        lock (_lock)
        {
            // Not disposed of: callbacks may still run, and without a timer there is nothing to free.
            _ = _running.Remove(request);
        }
    }

    private sealed record RunningToken(CancellationTokenSource Source, OperationCancellation Cancellation);
}
