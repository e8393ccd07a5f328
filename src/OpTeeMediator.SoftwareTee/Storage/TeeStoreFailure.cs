namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Why a store has failed, and what the guest's trusted application is told.</summary>
public enum TeeStoreFailure
{
    /// <summary>The store cannot be reached, read or written: TEE_ERROR_STORAGE_NOT_AVAILABLE.</summary>
    Unavailable,

    /// <summary>The disk is full: TEE_ERROR_STORAGE_NO_SPACE.</summary>
    Full,

    /// <summary>The store's engine finds its own data damaged: TEE_ERROR_CORRUPT_OBJECT.</summary>
    Corrupt,

    /// <summary>Another host has opened the VM's store since: TEE_ERROR_STORAGE_NOT_AVAILABLE.</summary>
    LeaseLost,

    /// <summary>
    /// The database is not one of this library, or of a newer version of it: TEE_ERROR_STORAGE_NOT_AVAILABLE.
    /// </summary>
    ForeignSchema,
}
