using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>The RPC messages to a guest, and its answers.</summary>
internal static class RpcMessages
{
    /// <summary>How many parameters an RPC message has room for; the guest is told at EXCHANGE_CAPABILITIES.</summary>
    public const int ParameterCount = 4;

    public const int Size = OpTeeMessage.HeaderSize + (ParameterCount * OpTeeMessage.ParameterSize);

    /// <summary>A backend's call, of exactly as many bytes as its <paramref name="parameters"/> need.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Encode(uint command, ReadOnlySpan<TeeParameter> parameters, Span<byte> message)
    {
        MemoryMarshal.Cast<byte, MessageHeader>(message)[0] = Header(command, parameters.Length);
        Span<MessageParameter> encoded =
            MemoryMarshal.Cast<byte, MessageParameter>(message[OpTeeMessage.HeaderSize..]);
        for (int index = 0; index < parameters.Length; index++)
        {
            encoded[index] = Encode(parameters[index]);
        }
    }

    /// <summary>A wait for a notification: a message of one parameter.</summary>
    public static void EncodeWait(uint notification, ref Message message)
    {
        message.Header = Header(OpTeeRpc.Notification, 1);
        message.Parameters[0] = new MessageParameter { Attributes = OpTeeMessage.TypeValueInput,
            A = OpTeeRpc.NotificationWait, B = notification };
    }

    /// <summary>Takes the outputs of the guest's answer over, with the kinds that the call has.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Decode(in Message answer, Span<TeeParameter> parameters)
    {
        for (int index = 0; index < parameters.Length; index++)
        {
            ref TeeParameter parameter = ref parameters[index];
            if (!parameter.IsOutput)
            {
                continue;
            }

            ref readonly MessageParameter answered = ref answer.Parameters[index];
            parameter.B = answered.B;
            if (!parameter.IsMemory)
            {
                parameter.A = answered.A;
                parameter.C = answered.C;
            }
        }
    }

    private static MessageHeader Header(uint command, int parameters) => new()
    {
        Command = command,
        ParameterCount = (uint)parameters,

        // What is there if the guest answers nothing.
        ReturnCode = (uint)TeeReturnCode.Generic,
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static MessageParameter Encode(in TeeParameter parameter)
    {
        ulong type = (ulong)parameter.Kind;
        if (!parameter.IsMemory)
        {
            return new() { Attributes = type, A = parameter.A, B = parameter.B, C = parameter.C };
        }

        return parameter.Memory is SharedBuffer buffer
            ? new() { Attributes = type, A = parameter.Offset, B = parameter.Size, C = buffer.Cookie }
            : new() { Attributes = type - OpTeeMessage.TypeRegisteredInput + OpTeeMessage.TypeTemporaryInput };
    }
}
