namespace OpTeeMediator.Benchmarks.History;

/// <summary>What there are many of.</summary>
public enum GrowthKind
{
    /// <summary>Open sessions of one VM, invoked in turn.</summary>
    Sessions,

    /// <summary>Registered buffers of one VM, four of which an invoke names.</summary>
    Buffers,

    /// <summary>VMs that invoke in turn.</summary>
    Vms,
}
