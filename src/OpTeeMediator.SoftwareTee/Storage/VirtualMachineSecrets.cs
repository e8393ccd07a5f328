namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>What belongs to a VM's durable identity.</summary>
/// <param name="Keys">The keys of its applications; <see langword="null"/> without identity or root key.</param>
/// <param name="Storage">Its trusted storage; <see langword="null"/> without identity, root key or store.</param>
internal sealed record VirtualMachineSecrets(DerivedKeys? Keys, VirtualMachineStorage? Storage)
{
    /// <summary>Those of a VM that has no identity.</summary>
    public static VirtualMachineSecrets None { get; } = new(null, null);
}
