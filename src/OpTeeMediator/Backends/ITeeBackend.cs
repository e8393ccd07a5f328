namespace OpTeeMediator.Backends;

/// <summary>A TEE that can serve VMs: the host's own, one in user space, one elsewhere.</summary>
/// <remarks>Implementations are thread-safe. A backend sees no guest addresses, no SMC registers, no message layouts.
/// The smallest one implements <see cref="CreatePartition"/>, <see cref="ITeePartition.OpenSessionAsync"/> and
/// <see cref="ITeeSession.InvokeCommandAsync"/>; all other members have defaults.</remarks>
public interface ITeeBackend
{
    /// <summary>The access list used when the options name none; by default <see cref="TeeAccess.None"/>.</summary>
    /// <remarks>A TEE that serves only this VMM's guests may answer <see cref="TeeAccess.All"/>.</remarks>
    TeeAccess DefaultAccess => TeeAccess.None;

    /// <summary>Tells the TEE that a VM is created.</summary>
    /// <param name="virtualMachine">The VM.</param>
    /// <returns>The VM's part of the TEE, until the mediator disposes of it.</returns>
    /// <exception cref="TeeUnavailableException">The TEE cannot serve the VM; the message explains it.</exception>
    ITeePartition CreatePartition(TeeVirtualMachine virtualMachine);
}
