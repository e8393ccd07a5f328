using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Calls;

/// <summary>The yielding calls of a guest: begins and resumes them, and is what their slots know of their VM.</summary>
/// <remarks>docs/call-state-machine.md draws the states of a call. Thread-safe.</remarks>
internal sealed class YieldingCalls : ICallOwner
{
    private readonly CallPreparation _preparation;
    private readonly CallPerformer _performer;
    private readonly CallRunner _runner;
    private readonly SessionAndBufferOperations _sessionsAndBuffers;
    private readonly SharedBufferPool _buffers;
    private readonly CallSlot _standby;
    private volatile DriverInstance _driverInstance;

    public YieldingCalls(CallEnvironment environment, DriverInstance driverInstance)
    {
        Notifications = environment.Notifications;
        Pause = environment.Pause;
        Pause.Released = GoOnAfterPause;
        _buffers = environment.Buffers;
        Observer = environment.Observer;
        _preparation = new CallPreparation(environment.Memory, environment.Reserved);
        Operations = new BackendOperations(environment.Partition, environment.Log);
        _performer = new CallPerformer(environment.Partition, Operations);
        _sessionsAndBuffers = new SessionAndBufferOperations(environment, Operations);
        RpcStateMachine rpc = new(environment.Memory, _buffers, Notifications, environment.SleepAfter, environment.Log);
        _driverInstance = driverInstance;
        Slots = new CallSlots(this, environment.Slots);
        _standby = Slots.Standby;
        _runner = new CallRunner(environment, Slots, _performer, _sessionsAndBuffers, rpc);
    }

    public CallSlots Slots { get; }

    public BackendOperations Operations { get; }

    public NotificationQueue Notifications { get; }

    public PauseControl Pause { get; }

    public CallObserver Observer { get; }

    /// <summary>Whether nobody is at work in the backend.</summary>
    public bool AreQuiet => Slots.AreQuiet && Pause.IsQuiet;

    /// <summary>Whether no operation is at the backend, neither at work nor waiting.</summary>
    public bool AreDrained => Slots.AreDrained && Pause.IsQuiet;

    /// <inheritdoc cref="SessionAndBufferOperations.Enumeration"/>
    public DeviceEnumeration? Enumeration => _sessionsAndBuffers.Enumeration;

    /// <summary>The driver instance that new calls belong to.</summary>
    public DriverInstance DriverInstance
    {
        get => _driverInstance;
        set => _driverInstance = value;
    }

    /// <summary>CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG. If it throws, abort the held slot.</summary>
    public SmcOutcome Start(ref SmcRegisters registers, ref CallSlot? held)
    {
        CallSlot? slot = Slots.TryTake();
        if (slot is null && !TryStartWithoutSlot(ref registers, out slot, out SmcOutcome answered))
        {
            return answered;
        }

        held = slot;
        Observer.Begin(slot.Timeline);

        // Before the fence in IsUnchanged, after which the operation's begin looks whether the VM is paused.
        slot.Operation.Prepare();
        DriverInstance driverInstance = _driverInstance;
        InterleavingPoint.Reach("YieldingCalls.Start: driver instance read");
        slot.DriverInstance = driverInstance;
        int version = driverInstance.TablesLock.Version;
        Refusal? refusal = _preparation.Prepare(slot, registers, driverInstance);
        if (!driverInstance.TablesLock.IsUnchanged(version) || driverInstance.IsRetired)
        {
            refusal = PrepareAgain(slot, registers, ref driverInstance);
        }

        if (refusal is not null)
        {
            return _runner.Refuse(slot, refusal, ref registers);
        }

        if (slot.Message.Header.Command != OpTeeMessage.CommandInvoke)
        {
            return StartOther(slot, driverInstance, ref registers);
        }

        slot.SetOperation(TeeOperation.InvokeCommand);
        if (slot.NeedsTemporaryBuffers)
        {
            refusal = _sessionsAndBuffers.AttachTemporaryBuffers(slot);
            if (refusal is not null)
            {
                return _runner.Refuse(slot, refusal, ref registers);
            }
        }

        Session session = slot.Session!;
        TeeRequest request = slot.Request;
        request.CommandId = slot.Message.Header.Function;
        request.Session = session.Backend;
        return _runner.Begin(slot, session.Execution, ref registers);
    }

    /// <summary>RETURN_FROM_RPC. A caller of this that catches aborts the held slot.</summary>
    public SmcOutcome Resume(ref SmcRegisters registers, ref CallSlot? held)
    {
        uint resumeInformation = (uint)registers[3];
        if (Slots.WithIndex(CallOwnership.IndexOf(resumeInformation)) is not { } slot
            || !slot.TryResume(resumeInformation))
        {
            return _runner.Refuse(Refusal.UnknownResumeInformation, ref registers);
        }

        held = slot;
        if (slot.Timeline.IsObserved)
        {
            Observer.Resume(slot.Timeline, slot.Stage, slot.Rpc.Command);
        }

        return _runner.Resume(slot, ref registers);
    }

    /// <summary>Which registers <see cref="Resume"/> needs: more after RPC ALLOC.</summary>
    public SmcRegisterSet RegistersToResume(ulong x3) =>
        Slots.WithIndex(CallOwnership.IndexOf((uint)x3)) is { Stage: RpcStage.Allocating }
            ? OpTeeRegisters.AllocationAnswer : OpTeeRegisters.ResumeInformation;

    public void Abort(CallSlot slot) => _runner.Abort(slot);

    /// <summary>The VM is paused: tells a VMM that tracks writes what operations in flight may have written.</summary>
    public void NotifyWritten()
    {
        foreach (CallSlot slot in Slots.All)
        {
            if (slot.State != CallState.Free && slot.Operation.IsAtBackend)
            {
                slot.NotifyWritten();
            }
        }
    }

    /// <summary>Ends the threads of the slots. No operation runs any more.</summary>
    public void StopWorkers()
    {
        foreach (CallSlot slot in Slots.All)
        {
            slot.Worker?.Stop();
        }
    }

    void ICallOwner.ReturnBuffer(SharedBuffer buffer) => _buffers.Return(buffer);

    void ICallOwner.ReleaseAbandoned(CallSlot slot) => _runner.ReleaseAbandoned(slot);

    /// <summary>Prepares a call again, with others kept out: something has changed, or the driver has ended.</summary>
    /// <remarks>A call that meets a life which has ended belongs to the next one, as if it had come a moment later.
    /// After disposal there is none.</remarks>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private Refusal? PrepareAgain(CallSlot slot, in SmcRegisters registers, ref DriverInstance driverInstance)
    {
        while (true)
        {
            using (driverInstance.TablesLock.Enter())
            {
                // Retired before the version was read: the teardown may have looked through the slots already.
                if (!driverInstance.IsRetired)
                {
                    return _preparation.Prepare(slot, registers, driverInstance);
                }
            }

            // The next one is set before the present one is retired. The same object again may be a later life.
            DriverInstance next = _driverInstance;
            if (next == driverInstance && driverInstance.IsRetired && _driverInstance == driverInstance)
            {
                return Refusal.DriverEnded;
            }

            driverInstance = next;
            slot.DriverInstance = next;
            Slots.WakeWaiters();
        }
    }

    /// <summary>Without a free slot only CANCEL can be served, which needs none; unless one becomes free.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryStartWithoutSlot(
        ref SmcRegisters registers, [NotNullWhen(true)] out CallSlot? slot, out SmcOutcome answered)
    {
        slot = null;
        DriverInstance driverInstance = _driverInstance;
        lock (_standby)
        {
            Observer.Begin(_standby.Timeline);
            Refusal? refusal;
            using (driverInstance.TablesLock.Enter())
            {
                refusal = _preparation.Prepare(_standby, registers, driverInstance);
            }

            if (refusal is null && _standby.Message.Header.Command == OpTeeMessage.CommandCancel)
            {
                answered = _runner.AnswerCancel(_standby, CancelCalls(_standby, driverInstance), ref registers);
                return false;
            }
        }

        // The driver sleeps on ETHREAD_LIMIT until one of its own calls ends; without any it would sleep for ever. A
        // slot that is taken and belongs to nobody is that of a call which begins or ends at this moment: look again.
        SpinWait spin = default;
        while (true)
        {
            driverInstance = _driverInstance;
            bool hasCalls = Slots.CountOf(driverInstance) > 0;
            if (!hasCalls)
            {
                slot = Slots.TryTake();
                if (slot is not null)
                {
                    answered = default;
                    return true;
                }
            }

            if (hasCalls || Slots.AreHeldByOthersThan(driverInstance))
            {
                answered = _runner.Refuse(hasCalls ? Refusal.NoCallSlot : Refusal.NoCallSlotForDriver, ref registers);
                return false;
            }

            spin.SpinOnce();
        }
    }

    private SmcOutcome StartOther(CallSlot slot, DriverInstance driverInstance, ref SmcRegisters registers)
    {
        Refusal? refusal;
        switch (slot.Message.Header.Command)
        {
            case OpTeeMessage.CommandOpenSession:
                slot.SetOperation(TeeOperation.OpenSession);
                refusal = _sessionsAndBuffers.BeginOpen(slot, driverInstance);
                if (refusal is null && slot.Request.Session is not null)
                {
                    // The device enumeration: its session is the mediator's own, and the backend knows nothing of it.
                    return _runner.Finish(slot, TeeResult.Success, ref registers);
                }

                break;

            case OpTeeMessage.CommandCloseSession:
                slot.SetOperation(TeeOperation.CloseSession);
                refusal = SessionAndBufferOperations.BeginClose(slot, driverInstance);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
                slot.SetOperation(TeeOperation.RegisterMemory);
                refusal = _sessionsAndBuffers.BeginRegister(slot, driverInstance);
                break;

            case OpTeeMessage.CommandUnregisterSharedMemory:
                slot.SetOperation(TeeOperation.UnregisterMemory);
                refusal = SessionAndBufferOperations.BeginUnregister(slot, driverInstance);
                break;

            case OpTeeMessage.CommandStopAsyncNotification when Notifications.IsAvailable:
                BeginStopNotifications(slot);
                refusal = null;
                break;

            case OpTeeMessage.CommandDoBottomHalf when Notifications.IsAvailable:
                // Notification 0 asks for it; this mediator has no work of that kind.
                return _runner.FinishWithoutResult(slot, ref registers);

            case OpTeeMessage.CommandCancel:
                refusal = CancelCalls(slot, driverInstance);
                if (refusal is null)
                {
                    return _runner.FinishWithoutOperation(slot, ref registers);
                }

                break;

            default:
                refusal = Refusal.UnknownCommand;
                break;
        }

        return refusal is null ? _runner.Run(slot, ref registers) : _runner.Refuse(slot, refusal, ref registers);
    }

    private Refusal? CancelCalls(CallSlot slot, DriverInstance driverInstance)
    {
        if (slot.Message.Header.ParameterCount != 0)
        {
            return Refusal.HasParameters;
        }

        if (driverInstance.Sessions.Find(slot.Message.Header.Session) is not { } session)
        {
            return Refusal.UnknownSession;
        }

        foreach (CallSlot other in Slots.All)
        {
            other.TryCancel(session, slot.Message.Header.CancelId);
        }

        return null;
    }

    /// <summary>STOP_ASYNC_NOTIF: nothing sleeps any more, and those that are sleeping come back first.</summary>
    private void BeginStopNotifications(CallSlot slot)
    {
        Notifications.BeginStop();
        foreach (CallSlot other in Slots.All)
        {
            other.Sleep.Wake();
        }

        slot.Operation.Drain();
    }

    /// <summary>After a pause, and when the VM is reset or disposed of: lets go on what was held and may.</summary>
    private void GoOnAfterPause()
    {
        Slots.WakeWaiters();
        foreach (CallSlot slot in Slots.All)
        {
            slot.GoOnAfterPause();
        }
    }
}
