namespace OpTeeMediator.Backends;

/// <summary>Where in the chain from client to trusted application a return code came from.</summary>
/// <remarks>Source: GlobalPlatform TEE Client API, "Return code origins" (TEEC_ORIGIN_*).</remarks>
public enum TeeOrigin
{
    /// <summary>TEEC_ORIGIN_API: the client library itself.</summary>
    Api = 1,

    /// <summary>TEEC_ORIGIN_COMMS: the communication between client and TEE, or a failed backend.</summary>
    Communication = 2,

    /// <summary>TEEC_ORIGIN_TEE: the trusted OS.</summary>
    Tee = 3,

    /// <summary>TEEC_ORIGIN_TRUSTED_APP: the trusted application.</summary>
    TrustedApplication = 4,
}
