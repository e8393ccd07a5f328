using OpTeeMediator.Memory;

namespace OpTeeMediator.Calls;

/// <summary>Memory for RPC messages that a guest without RPC_ARG has allocated.</summary>
internal readonly record struct RpcBuffer(GuestAddress Address, ulong Cookie);
