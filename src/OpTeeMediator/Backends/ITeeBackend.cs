namespace OpTeeMediator.Backends;

/// <summary>A TEE that can serve VMs: the host's own, one in user space, one elsewhere.</summary>
/// <remarks>Implementations are thread-safe. A backend sees no guest addresses, no SMC registers, no message layouts.</remarks>
public interface ITeeBackend
{
    /// <summary>The access list used when the options name none.</summary>
    /// <remarks>A TEE that is shared with others than this VMM's guests answers <see cref="TeeAccess.None"/>.</remarks>
    TeeAccess DefaultAccess { get; }

    /// <summary>Tells the TEE that a VM exists.</summary>
    /// <param name="virtualMachine">The VM.</param>
    /// <returns>What the TEE keeps for the VM, until it is disposed of.</returns>
    /// <exception cref="TeeUnavailableException">The TEE cannot serve the VM; the message says what was found and what to do.</exception>
    ITeePartition CreatePartition(TeeVirtualMachine virtualMachine);
}
