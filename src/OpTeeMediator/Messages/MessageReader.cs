using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Messages;

/// <summary>Copies the message of a call, once, and checks that it fits into its place.</summary>
/// <param name="memory">The guest's memory.</param>
/// <param name="rpcParameters">How many parameters an RPC message has room for, as the guest was told at
/// EXCHANGE_CAPABILITIES.</param>
internal sealed class MessageReader(NonThrowingGuestMemory memory, int rpcParameters)
{
    /// <summary>Copies and checks a message.</summary>
    /// <param name="functionId">CALL_WITH_ARG, CALL_WITH_RPC_ARG or CALL_WITH_REGD_ARG.</param>
    /// <param name="place">The guest memory from the message's first byte to the end of its page or buffer.</param>
    /// <param name="message">Receives the copy.</param>
    /// <param name="rpcOffset">How far behind the message RPC messages go, in bytes, if the guest has supplied room
    /// with the call (RPC_ARG); else 0.</param>
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
