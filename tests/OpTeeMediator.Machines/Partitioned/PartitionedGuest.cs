namespace OpTeeMediator.Machines.Partitioned;

/// <summary>What the guest of a partitioned machine runs.</summary>
public enum PartitionedGuest
{
    /// <summary>Linux 6.12 with an agent on its console.</summary>
    Linux,

    /// <summary>The same with tools for trusted keys, TPM and LUKS, and drivers that Debian's kernel lacks.</summary>
    LinuxWithTools,

    /// <summary>U-Boot with its prompt on its console.</summary>
    UBoot,
}
