using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Where the trusted applications of VMs keep their objects.</summary>
/// <param name="Store">The store beneath.</param>
/// <param name="KeySource">The root key, from which the keys of each VM and application are derived.</param>
/// <param name="GetVirtualMachineId">
/// Supplies the durable identity of a VM: the same UUID each time this VM starts, and of no other VM.
/// </param>
/// <remarks>Immutable, hence thread-safe if its parts are.</remarks>
public sealed record TrustedStorageOptions(
    ITeeStore Store, ITeeKeySource KeySource, Func<TeeVirtualMachine, Guid> GetVirtualMachineId)
{
    /// <summary>
    /// Notices an older copy of the whole store; <see langword="null"/>, the default, if the VMM has no such counter.
    /// </summary>
    public IRollbackAnchor? Anchor { get; init; }

    /// <summary>
    /// How much a VM may store, in bytes: the sizes of its objects and 256 bytes for each. Default 16 MiB.
    /// </summary>
    public long Quota { get; init; } = 16 << 20;
}
