using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>The yielding calls of a VM: each message becomes a shadow of it with physical addresses, which OP-TEE gets instead.</summary>
/// <remarks>
/// <para>What the guest wrote is read once, into private memory, checked there, and used only from there. What OP-TEE wrote is copied back field by field.</para>
/// <para>Thread-safe: a call belongs to the vCPU that has it.</para>
/// </remarks>
internal sealed class ForwardedCalls
{
    private const ulong Meta = OpTeeMessage.AttributeMeta | OpTeeMessage.TypeValueInput;
    private const ulong PageList = OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous;

    private static readonly SmcRegisterSet X0ToX3 = SmcRegisterSet.Range(0, 3);
    private static readonly SmcRegisterSet ResumeInformation = new(1 << 0 | 1 << 3);
    private static readonly SmcRegisterSet ResumeOfAllocation = SmcRegisterSet.Range(0, 5);

    private readonly HostOpTee _opTee;
    private readonly NonThrowingGuestMemory _memory;
    private readonly ILogger _log;
    private readonly VmResources _vm;
    private readonly ForwardedRpc _rpc;
    private readonly ShadowMessages _shadows;
    private readonly CallEntry _entry;
    private readonly bool _hasRpcArgument;

    public ForwardedCalls(
        HostOpTee opTee,
        NonThrowingGuestMemory memory,
        VmResources vm,
        ForwardedRpc rpc,
        ShadowMessages shadows,
        CallEntry entry,
        bool hasRpcArgument,
        ILogger log)
    {
        _opTee = opTee;
        _memory = memory;
        _vm = vm;
        _rpc = rpc;
        _shadows = shadows;
        _entry = entry;
        _hasRpcArgument = hasRpcArgument;
        _log = log;
    }

    /// <summary>CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG.</summary>
    public SmcOutcome Start(ref SmcRegisters registers)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
        if (functionId != OpTeeSmc.CallWithArgument && !_hasRpcArgument)
        {
            return Refuse(ref registers, OpTeeSmc.ReturnBadCommand, RefusalReason.NotAgreed);
        }

        ForwardedCall? call = _vm.TryTakeCall();
        if (call is null)
        {
            return Refuse(ref registers, _vm.InFlight > 0 ? OpTeeSmc.ReturnThreadLimit : OpTeeSmc.ReturnNoMemory, RefusalReason.NoCallSlot);
        }

        uint answer = Prepare(call, functionId, registers, out TeeReturnCode refusal);
        if (answer != OpTeeSmc.ReturnOk || refusal != TeeReturnCode.Success)
        {
            string? reason = call.Refusal;
            if (answer == OpTeeSmc.ReturnOk)
            {
                if (reason is not null)
                {
                    _log.MessageRefused(call.Message.Header.Command, call.Message.Header.Session, refusal, reason);
                }

                _shadows.WriteRefusal(call, refusal);
                _vm.Release(call);
                return registers.Answer(answer);
            }

            _vm.Release(call);
            return Refuse(ref registers, answer, reason);
        }

        if (!_shadows.TryWrite(call, out SmcRegisters forwarded))
        {
            _entry.Abandon(call);
            return registers.Answer(OpTeeSmc.ReturnNoMemory);
        }

        return Enter(call, ref forwarded, ref registers);
    }

    /// <summary>Which registers a resume needs: more after an ALLOC.</summary>
    public SmcRegisterSet RegistersToResume(ulong information) => (uint)information switch
    {
        uint begin when DeferredRequests.IsDeferredCall(begin) => X0ToX3,
        uint token when _vm.FindCall(token) is { Stage: ForwardedRpcStage.Allocating } call && call.IsResumedBy(token) => ResumeOfAllocation,
        _ => ResumeInformation,
    };

    /// <summary>RETURN_FROM_RPC.</summary>
    public SmcOutcome Resume(ref SmcRegisters registers)
    {
        uint information = (uint)registers.X3;
        if (_vm.FindCall(information) is not { } call || !call.TryResume(information))
        {
            return Refuse(ref registers, OpTeeSmc.ReturnResume, RefusalReason.UnknownResumeInformation);
        }

        SmcRegisters forwarded = _rpc.Answer(call, registers);
        return Enter(call, ref forwarded, ref registers);
    }

    private SmcOutcome Refuse(ref SmcRegisters registers, uint answer, string? reason)
    {
        _log.CallRefused(registers.FunctionId.Value, registers.Pair(1, 2), answer, reason);
        return registers.Answer(answer);
    }

    /// <summary>Copies the message, checks it, and enters what OP-TEE is to hear of.</summary>
    private uint Prepare(ForwardedCall call, uint functionId, in SmcRegisters registers, out TeeReturnCode refusal)
    {
        refusal = TeeReturnCode.Success;
        call.Refusal = null;
        if (!_vm.SharedMemory.TryFindMessage(functionId, registers, out GuestRange place) || place.Length < OpTeeMessage.HeaderSize)
        {
            return call.Refuse(OpTeeSmc.ReturnBadAddress, RefusalReason.NoMessage);
        }

        ref Message message = ref call.Message;
        Span<byte> bytes = message.Bytes;
        if (!_memory.TryRead(place.Start, place.Length < (ulong)bytes.Length ? bytes[..(int)place.Length] : bytes))
        {
            return call.Refuse(OpTeeSmc.ReturnBadAddress, RefusalReason.MessageOutsideRam);
        }

        uint parameters = message.Header.ParameterCount;
        int rpcSize = functionId == OpTeeSmc.CallWithArgument ? 0 : OpTeeMessage.Size(_opTee.RpcParameters);
        if (parameters > OpTeeMessage.MaximumParameters || (ulong)(OpTeeMessage.Size((int)parameters) + rpcSize) > place.Length)
        {
            return call.Refuse(OpTeeSmc.ReturnBadAddress, RefusalReason.MessageTooLong);
        }

        call.MessageAddress = place.Start;
        call.RpcOffset = rpcSize == 0 ? 0 : OpTeeMessage.Size((int)parameters);
        ClearUnusedFields(ref message.Header);
        switch (message.Header.Command)
        {
            case OpTeeMessage.CommandOpenSession:
                refusal = CheckOpening(call);
                return OpTeeSmc.ReturnOk;

            case OpTeeMessage.CommandInvoke:
                refusal = CheckParameters(call, 0);
                return OpTeeSmc.ReturnOk;

            case OpTeeMessage.CommandRegisterSharedMemory:
                refusal = EnterBuffer(call);
                return OpTeeSmc.ReturnOk;

            case OpTeeMessage.CommandUnregisterSharedMemory:
                refusal = CheckUnregistration(call);
                return OpTeeSmc.ReturnOk;

            case OpTeeMessage.CommandCloseSession:
            case OpTeeMessage.CommandCancel:
            case OpTeeMessage.CommandDoBottomHalf:
            case OpTeeMessage.CommandStopAsyncNotification:
                refusal = parameters == 0 ? TeeReturnCode.Success : call.Refuse(TeeReturnCode.BadParameters, RefusalReason.HasParameters);
                return OpTeeSmc.ReturnOk;

            default:
                // What we do not know may carry addresses.
                return call.Refuse(OpTeeSmc.ReturnBadCommand, RefusalReason.UnknownCommand);
        }
    }

    private TeeReturnCode CheckUnregistration(ForwardedCall call)
    {
        if (call.Message.Header.ParameterCount != 1)
        {
            return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.NotOneParameter);
        }

        call.Buffer = _vm.SharedMemory.MakeUnusable(call.Message.Parameters[0].C);
        return call.Buffer is not null ? TeeReturnCode.Success : call.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownCookie);
    }

    private TeeReturnCode CheckOpening(ForwardedCall call)
    {
        ref Message message = ref call.Message;
        if (message.Header.ParameterCount < Message.MetaParameters || message.Parameters[0].Attributes != Meta || message.Parameters[1].Attributes != Meta)
        {
            return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.MetaMissing);
        }

        message.Parameters[0].C = 0;
        TeeReturnCode refusal = CheckParameters(call, Message.MetaParameters);
        return refusal == TeeReturnCode.Success && !_vm.Sessions.TryBeginOpening()
            ? call.Refuse(TeeReturnCode.OutOfMemory, RefusalReason.BeyondLimits)
            : refusal;
    }

    /// <summary>Checks an application's parameters, and clears what OP-TEE has no use for: a word without meaning may hold an address.</summary>
    private TeeReturnCode CheckParameters(ForwardedCall call, int first)
    {
        ref Message message = ref call.Message;
        int count = (int)message.Header.ParameterCount;
        if (count > first + TeeRequest.ParameterCount)
        {
            return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.TooManyParameters);
        }

        for (int index = first; index < count; index++)
        {
            ref MessageParameter parameter = ref message.Parameters[index];
            if ((parameter.Attributes & OpTeeMessage.AttributeMeta) != 0)
            {
                return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.MetaAttribute);
            }

            bool isPageList = (parameter.Attributes & OpTeeMessage.AttributeNonContiguous) != 0;
            uint type = parameter.Type;
            parameter.Attributes = type;
            switch (type)
            {
                case OpTeeMessage.TypeNone:
                    parameter = default;
                    break;

                case OpTeeMessage.TypeValueInput or OpTeeMessage.TypeValueOutput or OpTeeMessage.TypeValueInOut:
                    parameter.C = 0;
                    break;

                // U-Boot's NULL. OP-TEE would find the shadow of the message itself by cookie 0.
                case OpTeeMessage.TypeRegisteredInput or OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut when parameter.IsNothing:
                    parameter.Attributes = type - OpTeeMessage.TypeRegisteredInput + OpTeeMessage.TypeTemporaryInput;
                    break;

                case OpTeeMessage.TypeRegisteredInput or OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut:
                    if (!_vm.SharedMemory.TryTranslate(parameter.C, out ulong teeCookie))
                    {
                        return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownCookie);
                    }

                    parameter.C = teeCookie;
                    break;

                // NULL, or no byte of guest memory. Other memory of the call itself is refused: contiguous, it would have to be in reserved memory; OP-TEE 4.5
                // keeps the pages of a page list for ever, and so would we have to.
                case OpTeeMessage.TypeTemporaryInput or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut
                    when parameter.A == 0 || (parameter.B == 0 && !isPageList && _memory.TryRead(parameter.A, out byte _)):
                    parameter.A = 0;
                    parameter.C = 0;
                    break;

                case OpTeeMessage.TypeTemporaryInput or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut:
                    return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.NotForwardable);

                default:
                    return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownType);
            }
        }

        return TeeReturnCode.Success;
    }

    /// <summary>Clears the fields of a header to which its command gives no meaning.</summary>
    private static void ClearUnusedFields(ref MessageHeader header)
    {
        header.Padding = 0;
        if (header.Command != OpTeeMessage.CommandInvoke)
        {
            header.Function = 0;
        }

        if (header.Command is not (OpTeeMessage.CommandInvoke or OpTeeMessage.CommandCloseSession or OpTeeMessage.CommandCancel))
        {
            header.Session = 0;
        }

        if (header.Command is not (OpTeeMessage.CommandOpenSession or OpTeeMessage.CommandInvoke or OpTeeMessage.CommandCancel))
        {
            header.CancelId = 0;
        }
    }

    private TeeReturnCode EnterBuffer(ForwardedCall call)
    {
        ref readonly MessageParameter parameter = ref call.Message.Parameters[0];
        if (call.Message.Header.ParameterCount != 1)
        {
            return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.NotOneParameter);
        }

        if (parameter.Attributes != PageList)
        {
            return call.Refuse(TeeReturnCode.BadParameters, RefusalReason.NotAPageList);
        }

        TeeReturnCode code = _vm.SharedMemory.TryEnterPageList(parameter.A, parameter.B, parameter.C, BufferRole.Registered, out SharedBuffer? buffer);
        if (code == TeeReturnCode.Success)
        {
            code = _vm.TryWritePageList(ref buffer, out call.PageList);
        }

        call.Buffer = buffer;
        if (code != TeeReturnCode.Success)
        {
            bool isTaken = code == TeeReturnCode.BadParameters && _vm.SharedMemory.TryTranslate(parameter.C, out _);
            _log.SharingRefused(parameter.C, parameter.B, code, isTaken ? RefusalReason.CookieTaken : RefusalReason.OfMemory(code));
        }

        return code;
    }

    /// <summary>Enters OP-TEE with a call, and gives the guest what OP-TEE returns.</summary>
    private SmcOutcome Enter(ForwardedCall call, ref SmcRegisters forwarded, ref SmcRegisters registers)
    {
        if (!_entry.TryEnter(call, ref forwarded))
        {
            return registers.Answer(OpTeeSmc.ReturnNoMemory);
        }

        uint answer = (uint)forwarded.X0;
        if (!CallEntry.IsRpc(answer))
        {
            _ = _entry.Finish(call, ref answer);
            return registers.Answer(answer);
        }

        ulong shown = _rpc.BeginRequest(call, forwarded);
        if (call.Stage == ForwardedRpcStage.Command)
        {
            _rpc.Deliver(call);
        }

        answer = call.Stage == ForwardedRpcStage.Undeliverable ? OpTeeSmc.ReturnRpcForeignInterrupt : answer;
        return registers.Answer(answer, shown >> 32, (uint)shown, call.Suspend());
    }
}
