namespace OpTeeMediator.Tests.Conformance;

/// <summary>X0 when an SMC returns, by the names of OP-TEE's <c>optee_smc.h</c> (OPTEE_SMC_RETURN_*).</summary>
internal enum OpTeeReturn : uint
{
    OK = 0,
    EBADADDR = 4,
    ENOTAVAIL = 7,
    RPC_FOREIGN_INTR = 0xffff_0004,
}
