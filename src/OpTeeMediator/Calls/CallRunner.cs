using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Calls;

/// <summary>Runs prepared calls to their end: begins, waits, serves calls to the guest, and answers.</summary>
/// <remarks>A call belongs to the vCPU that has it; each method ends with it suspended or its slot free.</remarks>
internal sealed class CallRunner(
    CallEnvironment environment, CallSlots slots, CallPerformer performer,
    SessionAndBufferOperations sessionsAndBuffers, RpcStateMachine rpc)
{
    private readonly NonThrowingGuestMemory _memory = environment.Memory;
    private readonly NotificationQueue _notifications = environment.Notifications;
    private readonly PauseControl _pause = environment.Pause;
    private readonly TimeSpan _quantum = environment.Quantum;
    private readonly ILogger _log = environment.Log;
    private readonly CallObserver _observer = environment.Observer;
    private readonly LogRateLimit _missingWorkers = new();

    /// <summary>Runs a call whose preparation is complete.</summary>
    public SmcOutcome Run(CallSlot slot, ref SmcRegisters registers) =>
        slot.Operation.Phase == OperationPhase.Draining ? Drain(slot, ref registers) : Begin(slot, ref registers);

    /// <summary>Runs a call whose session says where its operations run.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public SmcOutcome Begin(CallSlot slot, TeeExecution execution, ref SmcRegisters registers)
    {
        // Behind a full fence after the preparation's begin: see CallOperation.Prepare.
        if (_pause.HoldsNew)
        {
            slot.Operation.Hold();
            return Suspend(slot, ref registers);
        }

        InterleavingPoint.Reach("CallRunner.Begin: about to begin");
        if (slot.Timeline.IsObserved)
        {
            slot.Timeline.BackendBegins();
        }

        if (execution == TeeExecution.Worker)
        {
            if (!TryReserveWorker(slot))
            {
                return Fail(slot, ref registers);
            }

            slot.Operation.Begin(isOnWorker: true);
            slot.Worker!.Post();
        }
        else
        {
            slot.Operation.Begin(isOnWorker: false);
            bool wasCancelled = slot.Request.IsCancellationRequested;
            bool wasTerminated = slot.Request.IsTerminationRequested;
            if (performer.TryPerform(slot, out TeeResult result))
            {
                if (slot.Timeline.IsObserved)
                {
                    _observer.EndWork(slot.Timeline, slot.Message.Header.Command);
                }

                return Finish(slot, result, ref registers);
            }

            slot.DeliverCancellation(wasCancelled, wasTerminated);
        }

        return Wait(slot, ref registers);
    }

    /// <summary>Runs a call that the guest has resumed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public SmcOutcome Resume(CallSlot slot, ref SmcRegisters registers)
    {
        if (slot.Stage != RpcStage.None)
        {
            SmcRegisterSet asked = rpc.TakeAnswer(slot, ref registers);
            if (!asked.IsEmpty)
            {
                return Suspend(slot, asked, ref registers);
            }
        }

        return slot.Operation.Phase switch
        {
            OperationPhase.Draining => Drain(slot, ref registers),
            OperationPhase.Held => Hold(slot, ref registers),
            _ => Wait(slot, ref registers),
        };
    }

    /// <summary>Ends a call: tables, results, registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public SmcOutcome Finish(CallSlot slot, TeeResult result, ref SmcRegisters registers)
    {
        // Before, so that Abort does not do it a second time.
        slot.Operation.Clear();
        return End(slot, sessionsAndBuffers.Commit(slot, result), hasOutputs: true, ref registers);
    }

    /// <summary>Ends a call whose operation cannot begin: what the call entered is taken out; what it was about to take
    /// away, the teardown finds in the tables.</summary>
    private SmcOutcome Fail(CallSlot slot, ref SmcRegisters registers)
    {
        sessionsAndBuffers.Discard(slot);
        return End(slot, TeeResult.FromTee(TeeReturnCode.OutOfMemory), hasOutputs: false, ref registers);
    }

    // The worker is the slot's as long as the VM exists, its thread as long as there is work.
    private bool TryReserveWorker(CallSlot slot)
    {
        try
        {
            slot.Worker ??= CreateWorker(slot);
            slot.Worker.Reserve();
            return true;
        }
        catch (Exception exception)
        {
            if (_missingWorkers.TryPass(out long suppressed))
            {
                _log.WorkerMissing(suppressed, exception);
            }

            return false;
        }
    }

    // Not where a worker is needed: what the delegate captures would be allocated with each call.
    private OnDemandThread CreateWorker(CallSlot slot) =>
        new(() => Perform(slot), $"optee {environment.Name}/{slot.Index}", OnDemandThread.DefaultIdleTime);

    private void Perform(CallSlot slot)
    {
        if (performer.TryPerform(slot, out TeeResult result))
        {
            slot.Complete(result);
        }
    }

    /// <summary>Ends a call that needed no operation, with success.</summary>
    public SmcOutcome FinishWithoutOperation(CallSlot slot, ref SmcRegisters registers) =>
        End(slot, TeeResult.FromTee(TeeReturnCode.Success), hasOutputs: false, ref registers);

    /// <summary>Ends a call whose operation does not begin.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public SmcOutcome Refuse(CallSlot slot, Refusal refusal, ref SmcRegisters registers)
    {
        if (refusal.Answer != OpTeeSmc.ReturnOk)
        {
            SmcOutcome refused = Refuse(refusal, ref registers);
            slot.Release();
            return refused;
        }

        sessionsAndBuffers.ReturnTemporaryBuffers(slot);
        LogRefusal(slot, refusal);
        return End(slot, TeeResult.FromTee(refusal.Code), hasOutputs: false, ref registers);
    }

    /// <summary>Refuses an SMC that has no slot.</summary>
    public SmcOutcome Refuse(Refusal refusal, ref SmcRegisters registers)
    {
        _log.CallRefused(registers.FunctionId.Value, registers.Pair(1, 2), refusal.Answer, refusal.Reason);
        _observer.Refuse(refusal.Reason);
        return registers.AnswerX0(refusal.Answer);
    }

    /// <summary>Answers a CANCEL that has no slot of its own.</summary>
    public SmcOutcome AnswerCancel(CallSlot standby, Refusal? refusal, ref SmcRegisters registers)
    {
        if (refusal is not null)
        {
            LogRefusal(standby, refusal);
        }

        TeeResult result = TeeResult.FromTee(refusal?.Code ?? TeeReturnCode.Success);
        Write(standby, result, hasOutputs: false);
        if (standby.Timeline.IsObserved)
        {
            _observer.End(standby.Timeline, standby.Message.Header.Command, result.Code);
        }

        return registers.AnswerX0(OpTeeSmc.ReturnOk);
    }

    /// <summary>Ends a call that changes nothing in its message.</summary>
    public SmcOutcome FinishWithoutResult(CallSlot slot, ref SmcRegisters registers)
    {
        if (slot.Timeline.IsObserved)
        {
            _observer.End(slot.Timeline, slot.Message.Header.Command, TeeReturnCode.Success);
        }

        slot.Release();
        return registers.AnswerX0(OpTeeSmc.ReturnOk);
    }

    /// <summary>Frees the slot of a call in which something of the VMM threw, not in its operation.</summary>
    public void Abort(CallSlot slot)
    {
        if (slot.State != CallState.Running)
        {
            return;
        }

        if (slot.Operation.IsAtBackend)
        {
            // The slot is freed when the backend returns.
            DriverInstance driverInstance = slot.DriverInstance!;
            _ = slot.Suspend();
            slot.TryAbandon(driverInstance);
            return;
        }

        try
        {
            TakeBack(slot);
        }
        catch (Exception exception)
        {
            _log.CallFailed(0, exception);
        }

        slot.Release();
    }

    /// <summary>Frees the slot of a call that nobody waits for any more.</summary>
    public void ReleaseAbandoned(CallSlot slot)
    {
        if (slot.Timeline.IsObserved)
        {
            _observer.Abandon(slot.Timeline, slot.Message.Header.Command);
        }

        TakeBack(slot);
        slot.Release();
    }

    /// <summary>Enters into the tables what an unanswered operation has done, or takes it back.</summary>
    private void TakeBack(CallSlot slot)
    {
        switch (slot.Operation.Phase)
        {
            case OperationPhase.Held:
                sessionsAndBuffers.Discard(slot);
                break;

            case OperationPhase.Ended:
                _ = sessionsAndBuffers.Commit(slot, slot.Operation.Result);
                break;

            default:
                // Of a call that was draining, the teardown finds in the tables what it wanted to take away.
                sessionsAndBuffers.ReturnTemporaryBuffers(slot);
                break;
        }

        rpc.Discard(slot);
    }

    /// <summary>Waits for those in the way: users of what is taken away, as OP-TEE does, or sleeping calls.</summary>
    private SmcOutcome Drain(CallSlot slot, ref SmcRegisters registers)
    {
        if (slot.Operation.Kind == TeeOperation.None)
        {
            if (!slots.WaitUntil(static (slots, _) => !slots.HasSleepers, slot, _quantum))
            {
                return Suspend(slot, ref registers);
            }

            _notifications.EndStop();
            return FinishWithoutResult(slot, ref registers);
        }

        if (slots.IsUsedByOthers(slot)
            && !slots.WaitUntil(static (slots, taker) => !slots.IsUsedByOthers(taker), slot, _quantum))
        {
            return Suspend(slot, ref registers);
        }

        slot.Operation.ContinuePreparation();
        return Begin(slot, ref registers);
    }

    private SmcOutcome Hold(CallSlot slot, ref SmcRegisters registers)
    {
        if (_pause.HoldsNew && !slots.WaitUntil(static (_, pause) => !pause.HoldsNew, _pause, _quantum))
        {
            return Suspend(slot, ref registers);
        }

        slot.Operation.ContinuePreparation();
        return Begin(slot, ref registers);
    }

    private SmcOutcome Begin(CallSlot slot, ref SmcRegisters registers) =>
        performer.ExecutionOf(slot) is { } execution ? Begin(slot, execution, ref registers)
            : Finish(slot, TeeResult.CommunicationFailure, ref registers);

    /// <summary>Waits for a quantum, while the VM is paused, and tells whether it no longer is.</summary>
    private bool WaitForResumption() =>
        !_pause.IsPaused || slots.WaitUntil(static (_, pause) => !pause.IsPaused, _pause, _quantum);

    /// <summary>Waits for the operation, for a quantum; then it is the guest's turn.</summary>
    private SmcOutcome Wait(CallSlot slot, ref SmcRegisters registers)
    {
        while (slot.Operation.WaitWhileWorking(_quantum))
        {
            switch (slot.Operation.Phase)
            {
                case OperationPhase.Ended:
                    return Conclude(slot, ref registers);

                case OperationPhase.AnswerKept:
                    if (!WaitForResumption())
                    {
                        return Suspend(slot, ref registers);
                    }

                    slot.AnswerAfterPause();
                    break;

                default:
                    SmcRegisterSet asked = rpc.Ask(slot, ref registers);
                    if (!asked.IsEmpty)
                    {
                        return Suspend(slot, asked, ref registers);
                    }

                    break;
            }
        }

        SmcRegisterSet sleeping = rpc.TryBeginSleep(slot, ref registers);
        return sleeping.IsEmpty ? Suspend(slot, ref registers) : Suspend(slot, sleeping, ref registers);
    }

    /// <summary>The operation has ended: gives back what is the guest's, one piece an exit, then ends.</summary>
    private SmcOutcome Conclude(CallSlot slot, ref SmcRegisters registers)
    {
        SmcRegisterSet asked = rpc.GiveBack(slot, ref registers);
        return asked.IsEmpty ? Finish(slot, slot.Operation.Result, ref registers) : Suspend(slot, asked, ref registers);
    }

    /// <summary>FOREIGN_INTR: the guest may go on with something else, and come back when it likes.</summary>
    private SmcOutcome Suspend(CallSlot slot, ref SmcRegisters registers)
    {
        registers.X0 = OpTeeSmc.ReturnRpcForeignInterrupt;
        return Suspend(slot, OpTeeRegisters.ResumeInformation, ref registers);
    }

    private SmcOutcome Suspend(CallSlot slot, SmcRegisterSet changed, ref SmcRegisters registers)
    {
        _observer.Suspend(slot.Timeline, slot.Stage, slot.Rpc.Command);

        // The last that is done to the slot: from here on another vCPU may have it.
        registers.X3 = slot.Suspend();
        return SmcOutcome.Handled(changed);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private SmcOutcome End(CallSlot slot, TeeResult result, bool hasOutputs, ref SmcRegisters registers)
    {
        if (!slot.DriverInstance!.IsRetired)
        {
            Write(slot, result, hasOutputs);
        }

        if (slot.Timeline.IsObserved)
        {
            _observer.End(slot.Timeline, slot.Message.Header.Command, result.Code);
        }

        slot.Release();
        return registers.AnswerX0(OpTeeSmc.ReturnOk);
    }

    // Kept out of line: inlined into the call's path its variables push each other out of the processor's registers.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Write(CallSlot slot, TeeResult result, bool hasOutputs)
    {
        ref Message message = ref slot.Message;
        int parameters = Math.Min((int)message.Header.ParameterCount, Message.UsedParameters);
        MessageWriter writer = new(_memory, slot.MessageAddress, parameters);
        switch (message.Header.Command)
        {
            case OpTeeMessage.CommandRegisterSharedMemory:
            case OpTeeMessage.CommandUnregisterSharedMemory:
                writer.WriteReturnCode(result.Code);
                NotifyWritten(slot, parameters);
                return;

            case OpTeeMessage.CommandOpenSession:
                writer.WriteSession(result.IsSuccess ? slot.OwnSession!.Id : 0);
                break;

            default:
                break;
        }

        writer.WriteResult(result);
        if (hasOutputs)
        {
            writer.WriteParameters(in message, slot.FirstParameter,
                slot.Request.Parameters[..(parameters - slot.FirstParameter)]);
        }

        NotifyWritten(slot, parameters);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void NotifyWritten(CallSlot slot, int parameters)
    {
        if (_memory.IsTracked)
        {
            _memory.NotifyWritten(new GuestRange(slot.MessageAddress, (ulong)OpTeeMessage.Size(parameters)));
            slot.NotifyWritten();
        }
    }

    private void LogRefusal(CallSlot slot, Refusal refusal)
    {
        _observer.Refuse(refusal.Reason);
        if (!refusal.IsLogged)
        {
            _log.MessageRefused(
                slot.Message.Header.Command, slot.Message.Header.Session, refusal.Code, refusal.Reason);
        }
    }
}
