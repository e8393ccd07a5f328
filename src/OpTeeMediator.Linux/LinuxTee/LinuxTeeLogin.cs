namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>As whom the host's TEE sees the clients in a guest.</summary>
/// <remarks>What a guest says of its clients is the guest's claim. The host's kernel would vouch for whatever it is
/// told, and can vouch only for the VMM: so none of the choices passes a claim on.</remarks>
public enum LinuxTeeLogin
{
    /// <summary>TEEC_LOGIN_PUBLIC, no identity: the default. Sessions of the guest's kernel (TEE_LOGIN_REE_KERNEL) are
    /// refused with TEE_ERROR_ACCESS_DENIED, as the host's driver refuses them to any user-space process.</summary>
    Public,

    /// <summary>TEEC_LOGIN_PUBLIC for the guest's kernel too: for applications that need no identity.</summary>
    PublicForKernelToo,

    /// <summary>TEEC_LOGIN_USER, the user under which the VMM runs, for every client that claims an identity;
    /// TEEC_LOGIN_PUBLIC for the others. Guests that run under the same user are the same client then. Sessions of the
    /// guest's kernel are refused.</summary>
    VmmUser,
}
