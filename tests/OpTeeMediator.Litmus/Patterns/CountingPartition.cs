using OpTeeMediator.Backends;

namespace OpTeeMediator.Litmus.Patterns;

/// <summary>A backend that counts how often it is told to cancel.</summary>
internal sealed class CountingPartition : ITeePartition
{
    private int _cancellations;

    public int Cancellations
    {
        get => _cancellations;
        set => _cancellations = value;
    }

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request) => new(TeeResult.Success);

    public void Cancel(TeeRequest request) => System.Threading.Interlocked.Increment(ref _cancellations);
}
