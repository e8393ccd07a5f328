using System.Threading.Tasks.Sources;
using OpTeeMediator.Backends;
using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>An operation of a backend that ends on the thread that says so.</summary>
internal sealed class LastingOperation(Action ends) : IValueTaskSource<TeeResult>
{
    private Action? _continuation;
    private bool _hasEnded;

    public void End()
    {
        ends();
        _hasEnded = true;
        Explorer.Reach("end of an operation");
        _continuation?.Invoke();
    }

    TeeResult IValueTaskSource<TeeResult>.GetResult(short token) => TeeResult.Success;

    ValueTaskSourceStatus IValueTaskSource<TeeResult>.GetStatus(short token) =>
        _hasEnded ? ValueTaskSourceStatus.Succeeded : ValueTaskSourceStatus.Pending;

    void IValueTaskSource<TeeResult>.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags)
    {
        Explorer.Reach("wait for an operation");
        if (_hasEnded)
        {
            continuation(state);
            return;
        }

        _continuation = () => continuation(state);
    }
}
