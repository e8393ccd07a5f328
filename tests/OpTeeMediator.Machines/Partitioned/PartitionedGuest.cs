namespace OpTeeMediator.Machines.Partitioned;

/// <summary>What the guest of a partitioned machine runs.</summary>
public enum PartitionedGuest
{
    /// <summary>Linux 6.12 with an agent on its console.</summary>
    Linux,

    /// <summary>U-Boot with its prompt on its console.</summary>
    UBoot,
}
