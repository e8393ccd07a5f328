using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Calls;

/// <summary>The yielding calls of a guest: from the registers through slot, message and backend
/// back to the registers.</summary>
/// <remarks>The states of a call are those of its <see cref="CallSlot"/>;
/// docs/call-state-machine.md draws them.</remarks>
internal sealed class YieldingCalls : ICallOwner
{
    private readonly NonThrowingGuestMemory _memory;
    private readonly BackendOperations _operations;
    private readonly SessionAndBufferOperations _sessionsAndBuffers;
    private readonly SharedBufferPool _buffers;
    private readonly MessageReader _reader;
    private readonly CallSlot _standby;
    private readonly RpcStateMachine _rpc;
    private readonly TimeSpan _quantum;
    private readonly ILogger _log;
    private volatile DriverInstance _driverInstance;

    public YieldingCalls(CallEnvironment environment, DriverInstance driverInstance)
    {
        _memory = environment.Memory;
        _quantum = environment.Quantum;
        Notifications = environment.Notifications;
        Pause = environment.Pause;
        Pause.Released = GoOnAfterPause;
        _log = environment.Log;
        _buffers = environment.Buffers;
        _reader = new MessageReader(_memory, environment.Reserved);
        TeeExecutionPolicy execution = environment.Partition.Execution;
        _operations = new BackendOperations(environment.Partition, execution, _log);
        _sessionsAndBuffers = new SessionAndBufferOperations(environment, _operations);
        _rpc = new RpcStateMachine(new RpcMessageCodec(_memory, _buffers, _log), Notifications, environment.SleepAfter);
        _driverInstance = driverInstance;
        Slots = new CallSlots(this, environment.Slots);
        _standby = Slots.Standby;
        if (!execution.UsesWorkers)
        {
            return;
        }

        try
        {
            foreach (CallSlot slot in Slots.All)
            {
                slot.Worker = new CallWorker(() => Perform(slot), $"optee {environment.Name}/{slot.Index}");
            }
        }
        catch
        {
            StopWorkers();
            throw;
        }
    }

    public CallSlots Slots { get; }

    /// <summary>What slots and workers have the backend do.</summary>
    public BackendOperations Operations => _operations;

    /// <summary>What wakes sleeping calls.</summary>
    public NotificationQueue Notifications { get; }

    /// <summary>Whether the VM is paused: no operation begins, or goes on.</summary>
    public PauseControl Pause { get; }

    /// <summary>Whether nobody is at work in the backend.</summary>
    public bool AreQuiet => Slots.AreQuiet && Pause.IsQuiet;

    /// <summary>The driver instance that new calls belong to.</summary>
    public DriverInstance DriverInstance
    {
        get => _driverInstance;
        set => _driverInstance = value;
    }

    /// <summary>CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG.</summary>
    /// <param name="registers">The vCPU's registers.</param>
    /// <param name="held">The call's slot, for <see cref="Abort"/> if this method throws.</param>
    public SmcOutcome Start(ref SmcRegisters registers, ref CallSlot? held)
    {
        CallSlot? slot = Slots.TryTake();
        if (slot is null)
        {
            slot = StartWithoutSlot(registers, out uint refused);
            if (slot is null)
            {
                return Refuse(ref registers, refused, RefusalReason.NoCallSlot);
            }
        }

        held = slot;

        // Before the fence in IsUnchanged, after which Run looks whether the VM is paused.
        slot.BeginPreparation();
        DriverInstance driverInstance = _driverInstance;
        InterleavingPoint.Reach("YieldingCalls.Start: driver instance read");
        slot.DriverInstance = driverInstance;
        int version = driverInstance.TablesLock.Version;
        uint answer = _reader.Prepare(slot, registers, driverInstance, out TeeReturnCode refusal);
        if (!driverInstance.TablesLock.IsUnchanged(version) || driverInstance.IsRetired)
        {
            answer = PrepareAgain(slot, registers, ref driverInstance, out refusal);
        }

        if (answer != OpTeeSmc.ReturnOk)
        {
            SmcOutcome refused = Refuse(ref registers, answer, slot.Refusal ?? RefusalReason.DriverEnded);
            slot.Release();
            return refused;
        }

        TeeRequest request = slot.Request;
        if (slot.Message.Header.Command == OpTeeMessage.CommandInvoke)
        {
            slot.Operation = TeeOperation.InvokeCommand;
            if (refusal == TeeReturnCode.Success && slot.NeedsTemporaryBuffers)
            {
                refusal = _sessionsAndBuffers.AttachTemporaryBuffers(slot);
            }

            if (refusal != TeeReturnCode.Success)
            {
                return Finish(slot, TeeResult.FromTee(refusal), reached: false, ref registers);
            }

            Session session = slot.Session!;
            request.CommandId = slot.Message.Header.Function;
            request.Session = session.Backend;
            return Run(slot, session.Execution, ref registers);
        }

        return StartOther(slot, driverInstance, refusal, ref registers);
    }

    /// <summary>RETURN_FROM_RPC.</summary>
    /// <param name="registers">The vCPU's registers.</param>
    /// <param name="held">The call's slot, for <see cref="Abort"/> if this method throws.</param>
    public SmcOutcome Resume(ref SmcRegisters registers, ref CallSlot? held)
    {
        uint resumeInformation = (uint)registers[3];
        if (Slots.WithIndex(CallSlot.IndexOf(resumeInformation)) is not { } slot || !slot.TryResume(resumeInformation))
        {
            return Refuse(ref registers, OpTeeSmc.ReturnResume, RefusalReason.UnknownResumeInformation);
        }

        held = slot;
        if (slot.Stage != RpcStage.None)
        {
            SmcRegisterSet asked = _rpc.TakeAnswer(slot, ref registers);
            if (!asked.IsEmpty)
            {
                return Suspend(slot, asked, ref registers);
            }
        }

        return slot.IsDraining ? Drain(slot, ref registers) : slot.IsHeld ? Hold(slot, ref registers)
            : Wait(slot, ref registers);
    }

    /// <summary>Which registers <see cref="Resume"/> needs: more after RPC ALLOC.</summary>
    public SmcRegisterSet RegistersToResume(ulong x3) =>
        Slots.WithIndex(CallSlot.IndexOf((uint)x3)) is { Stage: RpcStage.Allocating } ? OpTeeRegisters.AllocationAnswer
            : OpTeeRegisters.ResumeInformation;

    void ICallOwner.Cancel(TeeRequest request, TeeOperation operation) => _operations.Cancel(request, operation);

    TeeResult ICallOwner.BackendFailed(TeeOperation operation, Exception exception) =>
        _operations.BackendFailed(operation, exception);

    /// <summary>Ends the threads of the slots. No operation runs any more.</summary>
    public void StopWorkers()
    {
        foreach (CallSlot slot in Slots.All)
        {
            slot.Worker?.Stop();
        }
    }

    /// <summary>Returns memory that a call has had from the guest.</summary>
    public void ReturnBuffer(SharedBuffer buffer) => _buffers.Return(buffer);

    /// <summary>Frees the slot of a call in which the VMM's guest memory or logger threw: before its
    /// operation, or behind it.</summary>
    public void Abort(CallSlot slot)
    {
        if (slot.State != CallState.Running)
        {
            return;
        }

        if (slot.IsWithBackend && !slot.HasFinished)
        {
            // The backend is at work still: the slot is freed when it returns.
            DriverInstance driverInstance = slot.DriverInstance!;
            _ = slot.Suspend();
            slot.TryAbandon(driverInstance);
            return;
        }

        try
        {
            if (slot.IsHeld)
            {
                _sessionsAndBuffers.Discard(slot);
            }
            else if (slot.IsWithBackend)
            {
                _ = _sessionsAndBuffers.Commit(slot, slot.Result);
            }
            else
            {
                _sessionsAndBuffers.ReturnTemporaryBuffers(slot);
            }

            _rpc.Discard(slot);
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
        // A call that was draining had not begun: the one who ends the driver instance finds what it
        // wanted to take away in the tables.
        if (slot.IsHeld)
        {
            _sessionsAndBuffers.Discard(slot);
        }
        else if (!slot.IsDraining)
        {
            _ = _sessionsAndBuffers.Commit(slot, slot.Result);
        }

        _rpc.Discard(slot);
        slot.Release();
    }

    /// <summary>Prepares a call once more, with others kept out: something has changed meanwhile, or the driver
    /// instance has ended.</summary>
    /// <remarks>
    /// A call that meets a life which has ended belongs to the next one, as if it had come a moment later.
    /// After disposal there is none.
    /// </remarks>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private uint PrepareAgain(
        CallSlot slot, in SmcRegisters registers, ref DriverInstance driverInstance, out TeeReturnCode refusal)
    {
        while (true)
        {
            using (driverInstance.TablesLock.Enter())
            {
                // Retired before the version was read: the teardown may have looked through the slots already.
                if (!driverInstance.IsRetired)
                {
                    return _reader.Prepare(slot, registers, driverInstance, out refusal);
                }
            }

            // The next one is set before the present one is retired. The same object again may be a
            // later life, which is not retired.
            DriverInstance next = _driverInstance;
            if (next == driverInstance && driverInstance.IsRetired && _driverInstance == driverInstance)
            {
                refusal = TeeReturnCode.Success;
                return OpTeeSmc.ReturnUnknownFunction;
            }

            driverInstance = next;
            slot.DriverInstance = next;
            Slots.WakeWaiters();
        }
    }

    /// <summary>Without a free slot only CANCEL can be served, which needs none.</summary>
    /// <returns>A slot after all, if one became free; otherwise <paramref name="answer"/> is the answer.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private CallSlot? StartWithoutSlot(in SmcRegisters registers, out uint answer)
    {
        DriverInstance driverInstance = _driverInstance;
        lock (_standby)
        {
            using (driverInstance.TablesLock.Enter())
            {
                answer = _reader.Prepare(_standby, registers, driverInstance, out _);
            }

            if (answer == OpTeeSmc.ReturnOk && _standby.Message.Header.Command == OpTeeMessage.CommandCancel)
            {
                Write(_standby, CancelCalls(_standby, driverInstance), reached: false);
                return null;
            }
        }

        // The driver sleeps on ETHREAD_LIMIT until one of its own calls ends; without any it would sleep for ever. A
        // slot that is taken and belongs to nobody is that of a call which begins or ends at this moment: look again.
        SpinWait spin = default;
        while (true)
        {
            driverInstance = _driverInstance;
            answer = OpTeeSmc.ReturnThreadLimit;
            if (Slots.CountOf(driverInstance) > 0)
            {
                return null;
            }

            if (Slots.TryTake() is { } slot)
            {
                return slot;
            }

            answer = OpTeeSmc.ReturnNoMemory;
            if (Slots.AreHeldByOthersThan(driverInstance))
            {
                return null;
            }

            spin.SpinOnce();
        }
    }

    private SmcOutcome StartOther(
        CallSlot slot, DriverInstance driverInstance, TeeReturnCode refusal, ref SmcRegisters registers)
    {
        uint command = slot.Message.Header.Command;
        TeeResult result;
        switch (command)
        {
            case OpTeeMessage.CommandOpenSession:
                slot.Operation = TeeOperation.OpenSession;
                result = TeeResult.FromTee(refusal == TeeReturnCode.Success
                    ? _sessionsAndBuffers.BeginOpen(slot, driverInstance) : refusal);
                break;

            case OpTeeMessage.CommandCloseSession:
                slot.Operation = TeeOperation.CloseSession;
                result = TeeResult.FromTee(SessionAndBufferOperations.BeginClose(slot, driverInstance));
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
                slot.Operation = TeeOperation.RegisterMemory;
                result = TeeResult.FromTee(_sessionsAndBuffers.BeginRegister(slot, driverInstance));
                break;

            case OpTeeMessage.CommandUnregisterSharedMemory:
                slot.Operation = TeeOperation.UnregisterMemory;
                result = TeeResult.FromTee(SessionAndBufferOperations.BeginUnregister(slot, driverInstance));
                break;

            case OpTeeMessage.CommandStopAsyncNotification when Notifications.IsAvailable:
                return StopNotifications(slot, ref registers);

            case OpTeeMessage.CommandDoBottomHalf when Notifications.IsAvailable:
                // Notification 0 asks for it; this mediator has no work of that kind.
                slot.Release();
                return Answer(ref registers, OpTeeSmc.ReturnOk);

            case OpTeeMessage.CommandCancel:
                slot.Operation = TeeOperation.None;
                return Finish(slot, CancelCalls(slot, driverInstance), reached: false, ref registers);

            default:
                SmcOutcome refused = Refuse(ref registers, OpTeeSmc.ReturnBadCommand, RefusalReason.UnknownCommand);
                slot.Release();
                return refused;
        }

        if (!result.IsSuccess)
        {
            return Finish(slot, result, reached: false, ref registers);
        }

        if (slot.Operation == TeeOperation.OpenSession && slot.Request.Session is not null)
        {
            // The device enumeration: its session is the mediator's own, and the backend knows nothing of it.
            return Finish(slot, TeeResult.Success, reached: true, ref registers);
        }

        return slot.IsDraining ? Drain(slot, ref registers) : Run(slot, ref registers);
    }

    private TeeResult CancelCalls(CallSlot slot, DriverInstance driverInstance)
    {
        if (slot.Message.Header.ParameterCount != 0)
        {
            return TeeResult.FromTee(slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.HasParameters));
        }

        if (driverInstance.Sessions.Find(slot.Message.Header.Session) is not { } session)
        {
            return TeeResult.FromTee(slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownSession));
        }

        foreach (CallSlot other in Slots.All)
        {
            other.TryCancel(session, slot.Message.Header.CancelId);
        }

        return TeeResult.FromTee(TeeReturnCode.Success);
    }

    /// <summary>STOP_ASYNC_NOTIF: nothing sleeps any more, and those that are sleeping come back first.</summary>
    private SmcOutcome StopNotifications(CallSlot slot, ref SmcRegisters registers)
    {
        Notifications.BeginStop();
        foreach (CallSlot other in Slots.All)
        {
            other.WakeGuest();
        }

        slot.Operation = TeeOperation.None;
        slot.IsDraining = true;
        return Drain(slot, ref registers);
    }

    /// <summary>Waits until the others are done that stand in the way: users of what is taken away, as OP-TEE does,
    /// or sleeping calls.</summary>
    private SmcOutcome Drain(CallSlot slot, ref SmcRegisters registers)
    {
        if (slot.Operation == TeeOperation.None)
        {
            if (!Slots.WaitUntil(static (slots, _) => !slots.HasSleepers, slot, _quantum))
            {
                return Suspend(slot, ref registers);
            }

            Notifications.EndStop();
            slot.Release();
            return Answer(ref registers, OpTeeSmc.ReturnOk);
        }

        if (Slots.IsUsedByOthers(slot)
            && !Slots.WaitUntil(static (slots, taker) => !slots.IsUsedByOthers(taker), slot, _quantum))
        {
            return Suspend(slot, ref registers);
        }

        slot.IsDraining = false;
        Interlocked.MemoryBarrier();
        return Run(slot, ref registers);
    }

    private SmcOutcome Run(CallSlot slot, ref SmcRegisters registers) => _operations.ExecutionOf(slot) is { } execution
        ? Run(slot, execution, ref registers)
        : Finish(slot, TeeResult.CommunicationFailure, reached: true, ref registers);

    private SmcOutcome Run(CallSlot slot, TeeExecution execution, ref SmcRegisters registers)
    {
        // Behind a full fence after BeginPreparation: see there.
        if (Pause.IsPaused)
        {
            slot.IsHeld = true;
            return Suspend(slot, ref registers);
        }

        InterleavingPoint.Reach("YieldingCalls.Run: about to begin");
        slot.ExpectBackend();
        slot.IsWithBackend = true;
        slot.WaitsSince = 0;
        if (execution == TeeExecution.Worker)
        {
            slot.IsOnWorker = true;
            slot.Worker!.Post();
        }
        else
        {
            bool wasCancelled = slot.Request.IsCancellationRequested;
            bool wasTerminated = slot.Request.IsTerminationRequested;
            if (_operations.TryPerform(slot, out TeeResult result))
            {
                slot.EndAtOnce();
                slot.IsWithBackend = false;
                return Finish(slot, result, reached: true, ref registers);
            }

            slot.DeliverCancellation(wasCancelled, wasTerminated);
        }

        return Wait(slot, ref registers);
    }

    /// <summary>Waits for the VM to go on, then begins the operation.</summary>
    private SmcOutcome Hold(CallSlot slot, ref SmcRegisters registers)
    {
        if (!WaitForResumption())
        {
            return Suspend(slot, ref registers);
        }

        slot.IsHeld = false;
        Interlocked.MemoryBarrier();
        return Run(slot, ref registers);
    }

    /// <summary>Waits for a quantum, while the VM is paused.</summary>
    /// <returns>Whether it is not.</returns>
    private bool WaitForResumption() =>
        !Pause.IsPaused || Slots.WaitUntil(static (_, pause) => !pause.IsPaused, Pause, _quantum);

    /// <summary>After a pause, and when the VM is reset or disposed of: lets everything go on
    /// that was held and may.</summary>
    private void GoOnAfterPause()
    {
        Slots.WakeWaiters();
        foreach (CallSlot slot in Slots.All)
        {
            slot.GoOnAfterPause();
        }

        Notifications.PulseIfOwed();
    }

    /// <summary>Waits for the operation, for a quantum; then it is the guest's turn.</summary>
    private SmcOutcome Wait(CallSlot slot, ref SmcRegisters registers)
    {
        while (slot.WaitForBackend(_quantum))
        {
            if (slot.HasFinished)
            {
                return Conclude(slot, ref registers);
            }

            if (slot.KeepsAnswer)
            {
                if (!WaitForResumption())
                {
                    return Suspend(slot, ref registers);
                }

                slot.AnswerAfterPause();
                continue;
            }

            SmcRegisterSet asked = _rpc.Ask(slot, ref registers);
            if (!asked.IsEmpty)
            {
                return Suspend(slot, asked, ref registers);
            }
        }

        SmcRegisterSet sleeping = _rpc.TryBeginSleep(slot, ref registers);
        return sleeping.IsEmpty ? Suspend(slot, ref registers) : Suspend(slot, sleeping, ref registers);
    }

    /// <summary>The operation has ended: gives back what the call still has from the guest, one piece an
    /// exit, then finishes.</summary>
    private SmcOutcome Conclude(CallSlot slot, ref SmcRegisters registers)
    {
        SmcRegisterSet asked = _rpc.GiveBack(slot, ref registers);
        return asked.IsEmpty ? Finish(slot, slot.Result, reached: true, ref registers)
            : Suspend(slot, asked, ref registers);
    }

    private void Perform(CallSlot slot)
    {
        if (_operations.TryPerform(slot, out TeeResult result))
        {
            slot.Complete(result);
        }
    }

    /// <summary>FOREIGN_INTR: the guest may go on with something else, and come back when it likes.</summary>
    private static SmcOutcome Suspend(CallSlot slot, ref SmcRegisters registers)
    {
        registers.X0 = OpTeeSmc.ReturnRpcForeignInterrupt;
        return Suspend(slot, OpTeeRegisters.ResumeInformation, ref registers);
    }

    private static SmcOutcome Suspend(CallSlot slot, SmcRegisterSet changed, ref SmcRegisters registers)
    {
        // The last that is done to the slot: from here on another vCPU may have it.
        registers.X3 = slot.Suspend();
        return SmcOutcome.Handled(changed);
    }

    /// <summary>Ends a call: tables, results, registers.</summary>
    /// <param name="slot">The call.</param>
    /// <param name="result">The operation's result.</param>
    /// <param name="reached">Whether the operation was begun; if not, there are no outputs.</param>
    /// <param name="registers">The vCPU's registers.</param>
    private SmcOutcome Finish(CallSlot slot, TeeResult result, bool reached, ref SmcRegisters registers)
    {
        if (reached)
        {
            // Before, so that Abort does not do it a second time.
            slot.IsWithBackend = false;
            result = _sessionsAndBuffers.Commit(slot, result);
        }
        else
        {
            _sessionsAndBuffers.ReturnTemporaryBuffers(slot);
            if (slot.Refusal is { } reason)
            {
                _log.MessageRefused(slot.Message.Header.Command, slot.Message.Header.Session, result.Code, reason);
            }
        }

        if (!slot.DriverInstance!.IsRetired)
        {
            Write(slot, result, reached);
        }

        slot.Release();
        return Answer(ref registers, OpTeeSmc.ReturnOk);
    }

    // Kept out of line: inlined into the call's path its variables push each other out of the processor's registers.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Write(CallSlot slot, TeeResult result, bool reached)
    {
        ref Message message = ref slot.Message;
        int parameters = Math.Min((int)message.Header.ParameterCount, Message.UsedParameters);
        MessageWriter writer = new(_memory, slot.MessageAddress, parameters);
        switch (message.Header.Command)
        {
            case OpTeeMessage.CommandRegisterSharedMemory:
            case OpTeeMessage.CommandUnregisterSharedMemory:
                writer.WriteReturnCode(result.Code);
                return;

            case OpTeeMessage.CommandOpenSession:
                writer.WriteSession(result.IsSuccess ? slot.OwnSession!.Id : 0);
                break;

            default:
                break;
        }

        writer.WriteResult(result);
        if (reached)
        {
            writer.WriteParameters(in message, slot.FirstParameter,
                slot.Request.Parameters[..(parameters - slot.FirstParameter)]);
        }
    }

    private SmcOutcome Refuse(ref SmcRegisters registers, uint answer, string reason)
    {
        _log.CallRefused(registers.FunctionId.Value, registers.Pair(1, 2), answer, reason);
        return Answer(ref registers, answer);
    }

    private static SmcOutcome Answer(ref SmcRegisters registers, uint answer)
    {
        registers.X0 = answer;
        return SmcOutcome.Handled(SmcRegisterSet.X0);
    }
}
