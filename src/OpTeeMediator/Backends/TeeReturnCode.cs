namespace OpTeeMediator.Backends;

/// <summary>A return code of the TEE.</summary>
/// <remarks>The named values are GlobalPlatform's (TEE Client API and TEE Internal Core API, TEE_ERROR_*); trusted
/// applications may return others, which are passed on as they are.</remarks>
public enum TeeReturnCode : uint
{
    /// <summary>TEE_SUCCESS.</summary>
    Success = 0,

    /// <summary>TEE_ERROR_CORRUPT_OBJECT: an object was changed outside of the TEE.</summary>
    CorruptObject = 0xf010_0001,

    /// <summary>TEE_ERROR_CORRUPT_OBJECT_2.</summary>
    CorruptObject2 = 0xf010_0002,

    /// <summary>TEE_ERROR_STORAGE_NOT_AVAILABLE.</summary>
    StorageNotAvailable = 0xf010_0003,

    /// <summary>TEE_ERROR_STORAGE_NOT_AVAILABLE_2.</summary>
    StorageNotAvailable2 = 0xf010_0004,

    /// <summary>TEE_ERROR_UNSUPPORTED_VERSION.</summary>
    UnsupportedVersion = 0xf010_0005,

    /// <summary>TEE_ERROR_CIPHERTEXT_INVALID.</summary>
    CiphertextInvalid = 0xf010_0006,

    /// <summary>TEE_ERROR_GENERIC.</summary>
    Generic = 0xffff_0000,

    /// <summary>TEE_ERROR_ACCESS_DENIED.</summary>
    AccessDenied = 0xffff_0001,

    /// <summary>TEE_ERROR_CANCEL: the operation was cancelled.</summary>
    Cancel = 0xffff_0002,

    /// <summary>TEE_ERROR_ACCESS_CONFLICT.</summary>
    AccessConflict = 0xffff_0003,

    /// <summary>TEE_ERROR_EXCESS_DATA.</summary>
    ExcessData = 0xffff_0004,

    /// <summary>TEE_ERROR_BAD_FORMAT.</summary>
    BadFormat = 0xffff_0005,

    /// <summary>TEE_ERROR_BAD_PARAMETERS.</summary>
    BadParameters = 0xffff_0006,

    /// <summary>TEE_ERROR_BAD_STATE.</summary>
    BadState = 0xffff_0007,

    /// <summary>TEE_ERROR_ITEM_NOT_FOUND.</summary>
    ItemNotFound = 0xffff_0008,

    /// <summary>TEE_ERROR_NOT_IMPLEMENTED.</summary>
    NotImplemented = 0xffff_0009,

    /// <summary>TEE_ERROR_NOT_SUPPORTED.</summary>
    NotSupported = 0xffff_000a,

    /// <summary>TEE_ERROR_NO_DATA.</summary>
    NoData = 0xffff_000b,

    /// <summary>TEE_ERROR_OUT_OF_MEMORY.</summary>
    OutOfMemory = 0xffff_000c,

    /// <summary>TEE_ERROR_BUSY.</summary>
    Busy = 0xffff_000d,

    /// <summary>TEE_ERROR_COMMUNICATION: the TEE cannot be reached.</summary>
    Communication = 0xffff_000e,

    /// <summary>TEE_ERROR_SECURITY: a security fault, such as a reference beyond its buffer.</summary>
    Security = 0xffff_000f,

    /// <summary>TEE_ERROR_SHORT_BUFFER: an output buffer is too short; its needed size is in the parameter.</summary>
    ShortBuffer = 0xffff_0010,

    /// <summary>TEEC_ERROR_EXTERNAL_CANCEL.</summary>
    ExternalCancel = 0xffff_0011,

    /// <summary>TEE_ERROR_TIMEOUT, of the Sockets API.</summary>
    Timeout = 0xffff_3001,

    /// <summary>TEE_ERROR_OVERFLOW.</summary>
    Overflow = 0xffff_300f,

    /// <summary>TEE_ERROR_TARGET_DEAD: the trusted application has panicked or was killed.</summary>
    TargetDead = 0xffff_3024,

    /// <summary>TEE_ERROR_STORAGE_NO_SPACE.</summary>
    StorageNoSpace = 0xffff_3041,

    /// <summary>TEE_ERROR_MAC_INVALID.</summary>
    MacInvalid = 0xffff_3071,

    /// <summary>TEE_ERROR_SIGNATURE_INVALID.</summary>
    SignatureInvalid = 0xffff_3072,

    /// <summary>TEE_ERROR_TIME_NOT_SET.</summary>
    TimeNotSet = 0xffff_5000,

    /// <summary>TEE_ERROR_TIME_NEEDS_RESET.</summary>
    TimeNeedsReset = 0xffff_5001,
}
