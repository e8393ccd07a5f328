namespace OpTeeMediator.Machines.Partitioned;

/// <summary>How a partitioned machine is to be.</summary>
public sealed record PartitionedMachineOptions
{
    /// <summary>What the guest runs.</summary>
    public PartitionedGuest Guest { get; init; }

    /// <summary>Further files of the guest, which is Linux, by absolute path; their folders exist.</summary>
    public IReadOnlyDictionary<string, byte[]> Files { get; init; } = new Dictionary<string, byte[]>();

    /// <summary>CPUs of the guest, 1 or 2.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Whether it has TF-A and OP-TEE.</summary>
    public bool HasSecureWorld { get; init; } = true;

    /// <summary>The interrupt that the guest is told for asynchronous notifications; none by default.</summary>
    public int? NotificationSpi { get; init; }
}
