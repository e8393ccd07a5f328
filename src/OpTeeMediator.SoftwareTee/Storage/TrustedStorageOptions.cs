namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Where the trusted applications of VMs keep their objects.</summary>
/// <param name="Store">The store beneath.</param>
/// <remarks>
/// Records are encrypted with keys from <see cref="SoftwareTeeOptions.KeySource"/> and belong to the VM's
/// <see cref="Backends.TeeVirtualMachine.Identity"/>. Immutable, hence thread-safe if its parts are.
/// </remarks>
public sealed record TrustedStorageOptions(ITeeStore Store)
{
    /// <summary>
    /// Notices an older copy of the whole store; <see langword="null"/>, the default, if the VMM has no such counter.
    /// </summary>
    public IRollbackAnchor? Anchor { get; init; }

    /// <summary>
    /// The clock by which applications' persistent times go on (<see cref="TrustedStorage.SetPersistentTime"/>), while
    /// the VM is off too. Default the host's.
    /// </summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>
    /// How much a VM may store, in bytes: the sizes of its objects and 256 bytes for each. Default 16 MiB.
    /// </summary>
    public long Quota { get; init; } = 16 << 20;
}
