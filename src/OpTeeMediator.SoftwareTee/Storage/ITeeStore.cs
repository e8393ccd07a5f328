namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Keeps the records of VMs, in a database for example.</summary>
/// <remarks>
/// A store sees ciphertext and random numbers only, and is not trusted: what it returns is authenticated by its caller.
/// It contains no cryptography. Thread-safe. Methods throw <see cref="TeeStoreException"/>.
/// </remarks>
public interface ITeeStore
{
    /// <summary>
    /// Whether it calls the guest. Then storage is available on the threads of the guest's operations only, and to
    /// applications that run on workers (<see cref="Backends.TeeExecution.Worker"/>).
    /// </summary>
    bool CallsGuest => false;

    /// <summary>Takes the VM's lease, from the session that has it, and opens the VM's records.</summary>
    /// <param name="virtualMachine">The VM's durable identity.</param>
    /// <returns>
    /// The session. Every later session for the same VM, on any host, ends this one: its transactions throw
    /// <see cref="TeeStoreFailure.LeaseLost"/> then.
    /// </returns>
    ITeeStoreSession Open(Guid virtualMachine);
}
