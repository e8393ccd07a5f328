using Microsoft.Extensions.Logging;
using OpTeeMediator.Calls;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>The yielding calls of a guest: begun with a message, and resumed until OP-TEE has ended them.</summary>
/// <remarks>Thread-safe: a call belongs to the vCPU that has it.</remarks>
internal sealed class ForwardedCalls(
    VmResources vm,
    MessageTranslator translator,
    ShadowMessages shadows,
    ForwardedRpc rpc,
    CallEntry entry,
    bool hasRpcArgument,
    CallObserver observer,
    ILogger log)
{
    /// <summary>CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG.</summary>
    public SmcOutcome Start(ref SmcRegisters registers)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
        if (functionId != OpTeeSmc.CallWithArgument && !hasRpcArgument)
        {
            return Refuse(ref registers, Refusal.NotAgreed);
        }

        if (vm.TryTakeCall() is not { } call)
        {
            return Refuse(ref registers, vm.InFlight > 0 ? Refusal.NoCallSlot : Refusal.NoCallSlotForDriver);
        }

        observer.Begin(call.Timeline);
        if (translator.Translate(call, functionId, registers) is { } refusal)
        {
            if (refusal.Answer == OpTeeSmc.ReturnOk)
            {
                AnswerMessage(call, refusal);
            }
            else
            {
                CallObserver.Withdraw(call.Timeline);
            }

            vm.Release(call);
            return Refuse(ref registers, refusal);
        }

        if (!shadows.TryWrite(call, out SmcRegisters forwarded))
        {
            entry.Abandon(call);
            return registers.Answer(OpTeeSmc.ReturnNoMemory);
        }

        return Enter(call, ref forwarded, ref registers);
    }

    public SmcRegisterSet RegistersToResume(ulong information)
    {
        uint token = (uint)information;
        if (DeferredRequests.IsDeferredCall(token))
        {
            return OpTeeRegisters.X0ToX3;
        }

        bool isAllocation =
            vm.FindCall(token) is { Stage: ForwardedRpcStage.Allocating } call && call.IsResumedBy(token);
        return isAllocation ? OpTeeRegisters.AllocationAnswer : OpTeeRegisters.ResumeInformation;
    }

    /// <summary>RETURN_FROM_RPC.</summary>
    public SmcOutcome Resume(ref SmcRegisters registers)
    {
        uint information = (uint)registers.X3;
        if (vm.FindCall(information) is not { } call || !call.TryResume(information))
        {
            return Refuse(ref registers, Refusal.UnknownResumeInformation);
        }

        if (call.Timeline.IsObserved)
        {
            observer.Resume(call.Timeline, call.MeasuredStage, call.RpcMessage.Header.Command);
        }

        rpc.Answer(call, registers, out SmcRegisters forwarded);
        return Enter(call, ref forwarded, ref registers);
    }

    private SmcOutcome Refuse(ref SmcRegisters registers, Refusal refusal)
    {
        observer.Refuse(refusal.Reason);
        if (refusal.Answer != OpTeeSmc.ReturnOk)
        {
            log.CallRefused(registers.FunctionId.Value, registers.Pair(1, 2), refusal.Answer, refusal.Reason);
        }

        return registers.Answer(refusal.Answer);
    }

    private void AnswerMessage(ForwardedCall call, Refusal refusal)
    {
        if (!refusal.IsLogged)
        {
            log.MessageRefused(
                call.Message.Header.Command, call.Message.Header.Session, refusal.Code, refusal.Reason);
        }

        shadows.WriteRefusal(call, refusal.Code);
        if (call.Timeline.IsObserved)
        {
            observer.End(call.Timeline, call.Message.Header.Command, refusal.Code);
        }
    }

    private SmcOutcome Enter(ForwardedCall call, ref SmcRegisters forwarded, ref SmcRegisters registers)
    {
        if (!entry.TryEnter(call, ref forwarded))
        {
            return registers.Answer(OpTeeSmc.ReturnNoMemory);
        }

        uint answer = (uint)forwarded.X0;
        if (!OpTeeRegisters.IsRpc(answer))
        {
            _ = entry.Finish(call, ref answer);
            return registers.Answer(answer);
        }

        ulong shown = rpc.BeginRequest(call, forwarded);
        if (call.Stage == ForwardedRpcStage.Command)
        {
            rpc.Deliver(call);
        }

        answer = call.Stage == ForwardedRpcStage.Undeliverable ? OpTeeSmc.ReturnRpcForeignInterrupt : answer;
        call.MeasuredStage = StageOf(answer, in call.RpcMessage);
        observer.Suspend(call.Timeline, call.MeasuredStage, call.RpcMessage.Header.Command);
        return registers.Answer(answer, shown >> 32, (uint)shown, call.Suspend());
    }

    private static RpcStage StageOf(uint answer, ref readonly Message rpc) => answer switch
    {
        OpTeeSmc.ReturnRpcForeignInterrupt => RpcStage.None,
        OpTeeSmc.ReturnRpcAllocate => RpcStage.Allocating,
        OpTeeSmc.ReturnRpcCommand => IsWait(in rpc) ? RpcStage.Sleeping : RpcStage.Calling,
        _ => RpcStage.RefusingMemory,
    };

    private static bool IsWait(ref readonly Message rpc) =>
        rpc.Header.Command == OpTeeRpc.Notification && rpc.Header.ParameterCount > 0
        && rpc.Parameters[0].A == OpTeeRpc.NotificationWait;
}
