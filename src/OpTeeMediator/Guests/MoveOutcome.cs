using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Guests;

/// <summary>Tells the TEE of a VM that is restored, or was saved, where the VM goes on: here, or elsewhere.</summary>
/// <remarks>Nothing is thrown. Thread-safe.</remarks>
/// <param name="partition">The VM's part of the TEE, which is told if it can restore sessions.</param>
/// <param name="log">Gets what the partition throws.</param>
internal sealed class MoveOutcome(ITeePartition partition, ILogger log)
{
    private readonly Lock _lock = new();
    private bool _isOpen;

    /// <summary>The VM may go on elsewhere: a restore begins, or it was saved and is given up. One of the others
    /// follows.</summary>
    public void Begin()
    {
        lock (_lock)
        {
            _isOpen = true;
        }
    }

    /// <summary>The VM runs here from now on.</summary>
    public void Commit() => Decide(nameof(Commit), static partition => partition.Commit());

    /// <summary>The VM ends here: it was not restored, or not resumed, or was given up.</summary>
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
