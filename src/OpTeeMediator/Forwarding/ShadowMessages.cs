using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>Writes the message that OP-TEE reads instead of the guest's, and copies the results back.</summary>
/// <remarks>Only outputs are written to the guest's message, field by field; what the guest may have put beside them
/// stays. A write that fails is the guest's loss. Thread-safe: a call belongs to the vCPU that has it.</remarks>
internal sealed class ShadowMessages(NonThrowingGuestMemory memory, ShadowPool shadows)
{
    public static Span<MessageParameter> ParametersIn(Span<byte> message) =>
        MemoryMarshal.Cast<byte, MessageParameter>(message[OpTeeMessage.HeaderSize..]);

    /// <summary>Writes the checked message to the call's shadow page, and the SMC that names it.</summary>
    public bool TryWrite(ForwardedCall call, out SmcRegisters forwarded)
    {
        forwarded = default;
        if (!shadows.TryGetBytes(call.ShadowPage, out Span<byte> shadow))
        {
            return false;
        }

        int size = OpTeeMessage.Size((int)call.Message.Header.ParameterCount);
        call.Message.Bytes[..size].CopyTo(shadow);
        if (call.Message.Header.Command == OpTeeMessage.CommandRegisterSharedMemory)
        {
            ref MessageParameter registered = ref ParametersIn(shadow)[0];
            ulong offset = call.Message.Parameters[0].A % OpTeeMessage.PageSize;
            registered.A = shadows.AddressOf(call.PageList).Value | offset;
            registered.C = call.Buffer!.TeeCookie;
        }
        else if (call.Message.Header.Command == OpTeeMessage.CommandUnregisterSharedMemory)
        {
            ulong cookie = call.Buffer!.TeeCookie;
            ParametersIn(shadow)[0] = new() { Attributes = OpTeeMessage.TypeRegisteredInput, C = cookie };
        }

        ulong address = shadows.AddressOf(call.ShadowPage).Value;
        forwarded.X0 = call.RpcOffset == 0 ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument;
        forwarded.X1 = address >> 32;
        forwarded.X2 = (uint)address;
        return true;
    }

    /// <summary>Reads what OP-TEE answered, and copies the results to the driver that waits for them.</summary>
    public bool TryReadResults(ForwardedCall call, out MessageHeader header)
    {
        bool isRead = shadows.TryGetBytes(call.ShadowPage, out Span<byte> shadow);
        header = isRead ? MemoryMarshal.Read<MessageHeader>(shadow) : default;
        if (isRead && call.Owner == CallOwner.Driver)
        {
            uint command = call.Message.Header.Command;
            WriteCode(call.MessageAddress, header.ReturnCode, header.ReturnOrigin);
            if (command == OpTeeMessage.CommandOpenSession)
            {
                WriteSession(call.MessageAddress, header.Session);
            }

            if (command is OpTeeMessage.CommandOpenSession or OpTeeMessage.CommandInvoke)
            {
                WriteOutputs(call, ParametersIn(shadow));
            }
        }

        return isRead;
    }

    /// <summary>Writes what OP-TEE would have answered to a message that it does not get.</summary>
    public void WriteRefusal(ForwardedCall call, TeeReturnCode refusal)
    {
        uint command = call.Message.Header.Command;
        bool keepsOrigin =
            command is OpTeeMessage.CommandRegisterSharedMemory or OpTeeMessage.CommandUnregisterSharedMemory;
        uint origin = keepsOrigin ? call.Message.Header.ReturnOrigin : (uint)TeeOrigin.Tee;
        WriteCode(call.MessageAddress, (uint)refusal, origin);
        if (command == OpTeeMessage.CommandOpenSession)
        {
            WriteSession(call.MessageAddress, 0);
        }
    }

    private void WriteCode(GuestAddress message, uint code, uint origin) =>
        _ = memory.TryWriteWords<uint>(message.Add(MessageHeader.ReturnCodeOffset), [code, origin]);

    private void WriteSession(GuestAddress message, uint session) =>
        _ = memory.TryWriteWords<uint>(message.Add(MessageHeader.SessionOffset), [session]);

    /// <summary>Copies the outputs of an application: two words of a value, the size of a memory reference.</summary>
    private void WriteOutputs(ForwardedCall call, ReadOnlySpan<MessageParameter> results)
    {
        for (int index = 0; index < (int)call.Message.Header.ParameterCount; index++)
        {
            GuestAddress words = call.MessageAddress.Add((ulong)OpTeeMessage.Size(index) + sizeof(ulong));
            ref readonly MessageParameter result = ref results[index];
            switch (call.Message.Parameters[index].Type)
            {
                case OpTeeMessage.TypeValueOutput or OpTeeMessage.TypeValueInOut:
                    _ = memory.TryWriteWords<ulong>(words, [result.A, result.B]);
                    break;

                case OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut
                    or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut:
                    _ = memory.TryWriteWords<ulong>(words.Add(sizeof(ulong)), [result.B]);
                    break;

                default:
                    break;
            }
        }
    }
}
