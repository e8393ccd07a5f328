namespace ExampleApplications;

/// <summary>The algorithms of <see cref="AesApplication"/>, with the numbers of OP-TEE's example.</summary>
internal enum AesAlgorithm : uint
{
    /// <summary>TEE_ALG_AES_ECB_NOPAD.</summary>
    Ecb,

    /// <summary>TEE_ALG_AES_CBC_NOPAD.</summary>
    Cbc,

    /// <summary>TEE_ALG_AES_CTR.</summary>
    Ctr,

    /// <summary>TEE_ALG_AES_CCM.</summary>
    Ccm,

    /// <summary>TEE_ALG_AES_GCM.</summary>
    Gcm,
}
