namespace KvmVmm.CommandLine;

/// <summary>Where the guest's trusted applications run.</summary>
internal enum TeeKind
{
    /// <summary>In the host's TEE.</summary>
    Linux,

    /// <summary>In this process.</summary>
    Software,

    /// <summary>In another process of this machine.</summary>
    Remote,

    /// <summary>In a real OP-TEE of the guest's own, in a VM beside it.</summary>
    Companion,
}
