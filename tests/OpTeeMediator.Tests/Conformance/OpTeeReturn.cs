namespace OpTeeMediator.Tests.Conformance;

/// <summary>X0 when an SMC returns, by the names of OP-TEE's <c>optee_smc.h</c> (OPTEE_SMC_RETURN_*).</summary>
internal enum OpTeeReturn : uint
{
    OK = 0,
    ETHREAD_LIMIT = 1,
    EBUSY = 2,
    ERESUME = 3,
    EBADADDR = 4,
    EBADCMD = 5,
    ENOMEM = 6,
    ENOTAVAIL = 7,
    RPC_ALLOC = 0xffff_0000,
    RPC_FREE = 0xffff_0002,
    RPC_FOREIGN_INTR = 0xffff_0004,
    RPC_CMD = 0xffff_0005,
    UNKNOWN_FUNCTION = 0xffff_ffff,
}
