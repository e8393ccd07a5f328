using System.Runtime.CompilerServices;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Messages;

/// <summary>Copies the message of a call, once, and checks that it fits into its place, with room for an RPC message of
/// as many parameters as the guest was told at EXCHANGE_CAPABILITIES.</summary>
internal sealed class MessageReader(NonThrowingGuestMemory memory, int rpcParameters)
{
    /// <summary>Copies and checks a message. RPC messages go <paramref name="rpcOffset"/> bytes after its begin if the
    /// guest has supplied room with the call, else 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Refusal? Read(uint functionId, GuestRange place, ref Message message, out int rpcOffset)
    {
        rpcOffset = 0;
        if (place.Length < OpTeeMessage.HeaderSize)
        {
            return Refusal.NoMessage;
        }

        Span<byte> bytes = message.Bytes;
        if (!memory.TryRead(place.Start, place.Length < (ulong)bytes.Length ? bytes[..(int)place.Length] : bytes))
        {
            return Refusal.MessageOutsideRam;
        }

        uint parameters = message.Header.ParameterCount;
        int rpcSize = functionId == OpTeeSmc.CallWithArgument ? 0 : OpTeeMessage.Size(rpcParameters);
        if (parameters > OpTeeMessage.MaximumParameters
            || (ulong)(OpTeeMessage.Size((int)parameters) + rpcSize) > place.Length)
        {
            return Refusal.MessageTooLong;
        }

        rpcOffset = rpcSize == 0 ? 0 : OpTeeMessage.Size((int)parameters);
        return null;
    }
}
