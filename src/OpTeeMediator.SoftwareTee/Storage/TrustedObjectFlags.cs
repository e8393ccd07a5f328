namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>How an object is opened or created: GlobalPlatform's TEE_DATA_FLAG_*.</summary>
[Flags]
public enum TrustedObjectFlags
{
    /// <summary>No access.</summary>
    None = 0,

    /// <summary>TEE_DATA_FLAG_ACCESS_READ.</summary>
    AccessRead = 0x1,

    /// <summary>TEE_DATA_FLAG_ACCESS_WRITE.</summary>
    AccessWrite = 0x2,

    /// <summary>TEE_DATA_FLAG_ACCESS_WRITE_META: to rename and delete; excludes every other handle.</summary>
    AccessWriteMeta = 0x4,

    /// <summary>TEE_DATA_FLAG_SHARE_READ.</summary>
    ShareRead = 0x10,

    /// <summary>TEE_DATA_FLAG_SHARE_WRITE.</summary>
    ShareWrite = 0x20,

    /// <summary>TEE_DATA_FLAG_OVERWRITE: creating replaces an object that exists.</summary>
    Overwrite = 0x400,
}
