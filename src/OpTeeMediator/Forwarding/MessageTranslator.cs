using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>Checks and translates a guest's message: cookies to OP-TEE's, page lists to physical addresses.</summary>
/// <remarks>The message is read once into a private copy, and used from there. A word without a meaning is cleared,
/// because it may hold an address. Thread-safe: a call belongs to the vCPU that has it.</remarks>
internal sealed class MessageTranslator(
    NonThrowingGuestMemory memory, VmResources vm, MessageReader reader, ILogger log)
{
    /// <summary>Copies, checks and translates a message, and notes what OP-TEE will have after it.</summary>
    public Refusal? Translate(ForwardedCall call, uint functionId, in SmcRegisters registers)
    {
        if (!vm.SharedMemory.TryFindMessage(functionId, registers, out GuestRange place))
        {
            return Refusal.NoMessage;
        }

        ref Message message = ref call.Message;
        Refusal? refusal = reader.Read(functionId, place, ref message, out int rpcOffset);
        if (refusal is not null)
        {
            return refusal;
        }

        call.MessageAddress = place.Start;
        call.RpcOffset = rpcOffset;
        ClearUnusedFields(ref message.Header);
        return message.Header.Command switch
        {
            OpTeeMessage.CommandOpenSession => OpenSession(call),
            OpTeeMessage.CommandInvoke => TranslateParameters(call, 0),
            OpTeeMessage.CommandRegisterSharedMemory => Register(call),
            OpTeeMessage.CommandUnregisterSharedMemory => Unregister(call),
            OpTeeMessage.CommandCloseSession or OpTeeMessage.CommandCancel
                or OpTeeMessage.CommandDoBottomHalf or OpTeeMessage.CommandStopAsyncNotification =>
                message.Header.ParameterCount == 0 ? null : Refusal.HasParameters,

            // Unknown commands may carry addresses.
            _ => Refusal.UnknownCommand,
        };
    }

    /// <summary>Clears the fields of a header to which its command gives no meaning.</summary>
    private static void ClearUnusedFields(ref MessageHeader header)
    {
        uint command = header.Command;
        bool isInvocation = command == OpTeeMessage.CommandInvoke;
        bool isCancellation = command == OpTeeMessage.CommandCancel;
        bool hasSession = isInvocation || isCancellation || command == OpTeeMessage.CommandCloseSession;
        bool hasCancelId = isInvocation || isCancellation || command == OpTeeMessage.CommandOpenSession;
        header.Padding = 0;
        header.Function = isInvocation ? header.Function : 0;
        header.Session = hasSession ? header.Session : 0;
        header.CancelId = hasCancelId ? header.CancelId : 0;
    }

    private Refusal? OpenSession(ForwardedCall call)
    {
        ref Message message = ref call.Message;
        if (message.Header.ParameterCount < Message.MetaParameters
            || message.Parameters[0].Attributes != Message.MetaAttributes
            || message.Parameters[1].Attributes != Message.MetaAttributes)
        {
            return Refusal.MetaMissing;
        }

        message.Parameters[0].C = 0;
        Refusal? refusal = TranslateParameters(call, Message.MetaParameters);
        return refusal is null && !vm.Sessions.TryBeginOpening() ? Refusal.BeyondLimits : refusal;
    }

    private Refusal? TranslateParameters(ForwardedCall call, int first)
    {
        ref Message message = ref call.Message;
        int count = (int)message.Header.ParameterCount;
        if (count > first + TeeRequest.ParameterCount)
        {
            return Refusal.TooManyParameters;
        }

        foreach (ref MessageParameter parameter in message.Parameters[first..count])
        {
            if (TranslateParameter(ref parameter) is { } refusal)
            {
                return refusal;
            }
        }

        return null;
    }

    private Refusal? TranslateParameter(ref MessageParameter parameter)
    {
        if ((parameter.Attributes & OpTeeMessage.AttributeMeta) != 0)
        {
            return Refusal.MetaAttribute;
        }

        bool isPageList = (parameter.Attributes & OpTeeMessage.AttributeNonContiguous) != 0;
        uint type = parameter.Type;
        parameter.Attributes = type;
        switch (type)
        {
            case OpTeeMessage.TypeNone:
                parameter = default;
                return null;

            case >= OpTeeMessage.TypeValueInput and <= OpTeeMessage.TypeValueInOut:
                parameter.C = 0;
                return null;

            // U-Boot's NULL. OP-TEE would find the shadow of the message itself by cookie 0.
            case >= OpTeeMessage.TypeRegisteredInput and <= OpTeeMessage.TypeRegisteredInOut when parameter.IsNothing:
                parameter.Attributes = type - OpTeeMessage.TypeRegisteredInput + OpTeeMessage.TypeTemporaryInput;
                return null;

            case >= OpTeeMessage.TypeRegisteredInput and <= OpTeeMessage.TypeRegisteredInOut:
                return vm.SharedMemory.TryTranslate(parameter.C, out parameter.C) ? null : Refusal.UnknownCookie;

            // NULL, or no byte of guest memory. Other memory of the call itself is refused: contiguous, it would have
            // to be in reserved memory; OP-TEE 4.5 never releases a list's pages.
            case >= OpTeeMessage.TypeTemporaryInput and <= OpTeeMessage.TypeTemporaryInOut
                when parameter.A == 0 || (parameter.B == 0 && !isPageList && memory.TryRead(parameter.A, out byte _)):
                parameter.A = 0;
                parameter.C = 0;
                return null;

            case >= OpTeeMessage.TypeTemporaryInput and <= OpTeeMessage.TypeTemporaryInOut:
                return Refusal.NotForwardable;

            default:
                return Refusal.UnknownType;
        }
    }

    private Refusal? Register(ForwardedCall call)
    {
        ref readonly MessageParameter parameter = ref call.Message.Parameters[0];
        if (call.Message.Header.ParameterCount != 1)
        {
            return Refusal.NotOneParameter;
        }

        if (parameter.Attributes != Message.PageListAttributes)
        {
            return Refusal.NotAPageList;
        }

        TeeReturnCode code = vm.SharedMemory.TryEnterPageList(
            parameter.A, parameter.B, parameter.C, BufferRole.Registered, out SharedBuffer? buffer);
        if (code == TeeReturnCode.Success)
        {
            code = vm.TryWritePageList(ref buffer, out call.PageList);
        }

        call.Buffer = buffer;
        if (code == TeeReturnCode.Success)
        {
            return null;
        }

        bool isTaken = code == TeeReturnCode.BadParameters && vm.SharedMemory.TryTranslate(parameter.C, out _);
        Refusal refusal = isTaken ? Refusal.CookieTaken : Refusal.OfMemory(code);
        log.SharingRefused(parameter.C, parameter.B, code, refusal.Reason);
        return refusal;
    }

    private Refusal? Unregister(ForwardedCall call)
    {
        if (call.Message.Header.ParameterCount != 1)
        {
            return Refusal.NotOneParameter;
        }

        call.Buffer = vm.SharedMemory.MakeUnusable(call.Message.Parameters[0].C);
        return call.Buffer is not null ? null : Refusal.UnknownCookie;
    }
}
