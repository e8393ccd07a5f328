namespace OpTeeMediator.Backends;

/// <summary>How the client says it was identified.</summary>
/// <remarks>Source: GlobalPlatform TEE Client and Internal Core API (TEEC_LOGIN_*), OP-TEE.</remarks>
public enum TeeLogin : uint
{
    /// <summary>TEEC_LOGIN_PUBLIC: no identity.</summary>
    Public = 0,

    /// <summary>TEEC_LOGIN_USER: the user of the client's process.</summary>
    User = 1,

    /// <summary>TEEC_LOGIN_GROUP: a group of the client's process.</summary>
    Group = 2,

    /// <summary>TEEC_LOGIN_APPLICATION: the client's program.</summary>
    Application = 4,

    /// <summary>TEEC_LOGIN_USER_APPLICATION: the client's program and user.</summary>
    UserApplication = 5,

    /// <summary>TEEC_LOGIN_GROUP_APPLICATION: the client's program and a group.</summary>
    GroupApplication = 6,

    /// <summary>TEE_LOGIN_REE_KERNEL: the guest's kernel.</summary>
    Kernel = 0x8000_0000,

    /// <summary>TEE_LOGIN_TRUSTED_APP: a trusted application of the same TEE. No guest can claim it.</summary>
    TrustedApplication = 0xf000_0000,
}
