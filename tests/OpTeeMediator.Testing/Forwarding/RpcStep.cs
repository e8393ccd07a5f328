using OpTeeMediator.Protocol;

namespace OpTeeMediator.Testing.Forwarding;

/// <summary>What a thread of <see cref="FakeOpTee"/> asks the guest for.</summary>
/// <param name="Return">OPTEE_SMC_RETURN_RPC_*.</param>
/// <param name="Value">X1 of ALLOC; the cookie of FREE and CMD.</param>
public readonly record struct RpcStep(uint Return, ulong Value)
{
    public static RpcStep ForeignInterrupt => new(OpTeeSmc.ReturnRpcForeignInterrupt, 0);
}
