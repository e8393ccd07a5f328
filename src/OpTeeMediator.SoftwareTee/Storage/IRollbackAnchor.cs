namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>
/// A durable counter for each VM, outside of the store, by which an older copy of the store is noticed.
/// </summary>
/// <remarks>
/// Called on any thread, one call per VM at a time. What it throws becomes TEE_ERROR_STORAGE_NOT_AVAILABLE and a log
/// entry.
/// </remarks>
public interface IRollbackAnchor
{
    /// <summary>Reads a VM's counter.</summary>
    /// <param name="virtualMachine">The VM's durable identity.</param>
    /// <returns>Its value; 0 for a VM that has never advanced it.</returns>
    long Read(Guid virtualMachine);

    /// <summary>Advances a VM's counter durably. It must never go back.</summary>
    /// <param name="virtualMachine">The VM's durable identity.</param>
    /// <param name="value">The new value; the same value again is no error.</param>
    void Advance(Guid virtualMachine, long value);
}
