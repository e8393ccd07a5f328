using OpTeeMediator.Memory;
using OpTeeMediator.State;

namespace OpTeeMediator.Calls;

/// <summary>Memory for RPC messages that a guest without RPC_ARG has allocated.</summary>
internal readonly record struct RpcBuffer(GuestAddress Address, ulong Cookie)
{
    public void Save(StateWriter writer)
    {
        writer.WriteUInt64(Address.Value);
        writer.WriteUInt64(Cookie);
    }

    public static RpcBuffer Restore(StateReader reader) => new(reader.ReadUInt64(), reader.ReadUInt64());
}
