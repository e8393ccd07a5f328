using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Guests;

/// <summary>Tells the TEE of a restored VM, once, where the VM goes on: here, or where its state was saved.</summary>
/// <remarks>Nothing is thrown. Thread-safe.</remarks>
/// <param name="partition">The VM's part of the TEE, which is told if it can restore sessions.</param>
/// <param name="log">Gets what the partition throws.</param>
internal sealed class RestoreOutcome(ITeePartition partition, ILogger log)
{
    private readonly Lock _lock = new();
    private bool _isOpen;

    /// <summary>A restore begins: the VM may go on where it was.</summary>
    public void Begin()
    {
        lock (_lock)
        {
            _isOpen = true;
        }
    }

    /// <summary>The VM runs here from now on.</summary>
    public void Commit() => Decide(nameof(Commit), static partition => partition.Commit());

    /// <summary>The VM was not restored, or ends before it was resumed.</summary>
    public void Abandon() => Decide(nameof(Abandon), static partition => partition.Abandon());

    private void Decide(string operation, Action<ISavableTeePartition> tell)
    {
        lock (_lock)
        {
            if (!_isOpen)
            {
                return;
            }

            _isOpen = false;
            try
            {
                if (partition is ISavableTeePartition savable)
                {
                    tell(savable);
                }
            }
            catch (Exception exception)
            {
                log.OutcomeFailed(operation, exception);
            }
        }
    }
}
