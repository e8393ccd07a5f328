using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Calls;

/// <summary>The yielding calls of a guest: from the registers through slot, message and backend back to the registers.</summary>
/// <remarks>The states of a call are those of its <see cref="CallSlot"/>; docs/DESIGN.md draws them.</remarks>
internal sealed class YieldingCalls
{
    /// <summary>X3 of an RPC return carries the resume information; X1 and X2 are the guest's own for FOREIGN_INTR.</summary>
    private static readonly SmcRegisterSet SuspendedRegisters = SmcRegisterSet.X0.Union(SmcRegisterSet.Range(3, 3));

    private readonly IGuestMemory _memory;
    private readonly IMappedGuestMemory? _mapped;
    private readonly ITeePartition _partition;
    private readonly TeeAccess _access;
    private readonly DeviceEnumeration? _enumeration;
    private readonly SharedBufferPool _buffers;
    private readonly MessageReader _reader;
    private readonly CallSlot _standby;
    private readonly TimeSpan _quantum;
    private readonly ILogger _log;
    private volatile Incarnation _incarnation;

    public YieldingCalls(CallEnvironment environment, Incarnation incarnation)
    {
        _memory = environment.Memory;
        _mapped = _memory as IMappedGuestMemory;
        _partition = environment.Partition;
        _access = environment.Access;
        _quantum = environment.Quantum;
        _log = environment.Log;
        _buffers = environment.Buffers;
        _reader = new MessageReader(_memory, environment.Reserved);
        _incarnation = incarnation;
        Slots = new CallSlots(this, environment.Slots);
        _standby = new CallSlot(this, Slots, -1);
        if (_partition.Devices is { } devices)
        {
            _enumeration = new DeviceEnumeration(devices.Where(device => _access.Allows(device.Uuid)));
        }

        if (_partition.UsesWorkers)
        {
            foreach (CallSlot slot in Slots.All)
            {
                slot.Worker = new CallWorker(this, slot, $"optee {environment.Name}/{slot.Index}");
            }
        }
    }

    public CallSlots Slots { get; }

    /// <summary>The driver's life that new calls belong to.</summary>
    public Incarnation Incarnation
    {
        get => _incarnation;
        set => _incarnation = value;
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
                return Answer(ref registers, refused);
            }
        }

        held = slot;

        Incarnation incarnation = _incarnation;
        slot.Incarnation = incarnation;
        int version = incarnation.Gate.Version;
        uint answer = _reader.Prepare(slot, registers, incarnation, out TeeReturnCode refusal);
        if (!incarnation.Gate.IsUnchanged(version) || incarnation.IsRetired)
        {
            // Retired before the version was read: whoever tears it down may have looked through the slots already.
            using (incarnation.Gate.Enter())
            {
                answer = incarnation.IsRetired
                    ? OpTeeSmc.ReturnBusy
                    : _reader.Prepare(slot, registers, incarnation, out refusal);
            }
        }

        if (answer != OpTeeSmc.ReturnOk)
        {
            SmcOutcome refused = Refuse(ref registers, answer);
            slot.Release();
            return refused;
        }

        TeeRequest request = slot.Request;
        if (slot.Message.Header.Command == OpTeeMessage.CommandInvoke)
        {
            request.Operation = TeeOperation.InvokeCommand;
            if (refusal == TeeReturnCode.Success && slot.HasTemporaryBuffers)
            {
                refusal = AttachTemporaryBuffers(slot);
            }

            if (refusal != TeeReturnCode.Success)
            {
                return Finish(slot, TeeResult.FromTee(refusal), reached: false, ref registers);
            }

            Session session = slot.Session!;
            request.CommandId = slot.Message.Header.Function;
            request.Session = session.Backend;
            return Run(slot, request.Session!.Execution, ref registers);
        }

        return StartOther(slot, incarnation, refusal, ref registers);
    }

    /// <summary>RETURN_FROM_RPC.</summary>
    /// <param name="registers">The vCPU's registers.</param>
    /// <param name="held">The call's slot, for <see cref="Abort"/> if this method throws.</param>
    public SmcOutcome Resume(ref SmcRegisters registers, ref CallSlot? held)
    {
        uint resumeInformation = (uint)registers[3];
        if (Slots.WithIndex(CallSlot.IndexOf(resumeInformation)) is not { } slot || !slot.TryResume(resumeInformation))
        {
            return Refuse(ref registers, OpTeeSmc.ReturnResume);
        }

        held = slot;
        return slot.IsDraining ? Drain(slot, ref registers) : Wait(slot, ref registers);
    }

    /// <summary>Frees the slot of a call in which the VMM's guest memory or logger threw: before its operation, or behind it.</summary>
    public void Abort(CallSlot slot)
    {
        if (slot.State != CallState.Running)
        {
            return;
        }

        try
        {
            ReturnTemporaryBuffers(slot);
        }
        catch (Exception exception)
        {
            _log.CallFailed(0, exception);
        }

        slot.Release();
    }

    /// <summary>Performs the operation of a slot. An exception of the backend becomes a result.</summary>
    /// <returns>Whether it has ended; otherwise the slot's <see cref="CallSlot.Complete"/> tells.</returns>
    /// <remarks>
    /// Each operation looks at its own ValueTask: one that is handed on costs as much as the rest of the way to an inline backend, because the
    /// processor cannot forward its small fields to one wide copy.
    /// </remarks>
    public bool TryPerform(CallSlot slot, out TeeResult result)
    {
        TeeRequest request = slot.Request;
        try
        {
            switch (request.Operation)
            {
                case TeeOperation.InvokeCommand:
                    ValueTask<TeeResult> invocation = request.Session!.InvokeCommandAsync(request);
                    if (invocation.IsCompletedSuccessfully)
                    {
                        result = invocation.Result;
                        return true;
                    }

                    slot.Await(invocation);
                    break;

                case TeeOperation.OpenSession:
                    ValueTask<TeeResult> opening = _partition.OpenSessionAsync(request);
                    if (opening.IsCompletedSuccessfully)
                    {
                        result = opening.Result;
                        return true;
                    }

                    slot.Await(opening);
                    break;

                case TeeOperation.RegisterMemory:
                    ValueTask<TeeReturnCode> registration = _partition.RegisterMemoryAsync(slot.Buffer!);
                    if (registration.IsCompletedSuccessfully)
                    {
                        result = TeeResult.FromTee(registration.Result);
                        return true;
                    }

                    slot.Await(ToResult(registration));
                    break;

                default:
                    bool isClosing = request.Operation == TeeOperation.CloseSession;
                    ValueTask ending = isClosing ? slot.OwnSession!.Backend!.CloseAsync() : _partition.UnregisterMemoryAsync(slot.Buffer!);
                    if (ending.IsCompletedSuccessfully)
                    {
                        ending.GetAwaiter().GetResult();
                        result = TeeResult.FromTee(TeeReturnCode.Success);
                        return true;
                    }

                    slot.Await(ToResult(ending));
                    break;
            }
        }
        catch (Exception exception)
        {
            result = BackendFailed(request.Operation, exception);
            return true;
        }

        result = default;
        return false;
    }

    /// <summary>What the guest gets when the backend threw.</summary>
    public TeeResult BackendFailed(TeeOperation operation, Exception exception)
    {
        _log.BackendFailed(operation, exception);
        return TeeResult.CommunicationFailure;
    }

    /// <summary>Asks the backend to end an operation early.</summary>
    public void Cancel(TeeRequest request)
    {
        try
        {
            _partition.Cancel(request);
        }
        catch (Exception exception)
        {
            _ = BackendFailed(request.Operation, exception);
        }
    }

    /// <summary>Frees the slot of a call that nobody waits for any more.</summary>
    public void ReleaseAbandoned(CallSlot slot)
    {
        // A call that was draining had not begun: the one who ends the incarnation finds what it wanted to take away in the tables.
        if (!slot.IsDraining)
        {
            _ = Settle(slot, slot.Result);
        }

        slot.Release();
    }

    /// <summary>Without a free slot only CANCEL can be served, which needs none.</summary>
    /// <returns>A slot after all, if one became free; otherwise <paramref name="answer"/> is the answer.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private CallSlot? StartWithoutSlot(in SmcRegisters registers, out uint answer)
    {
        Incarnation incarnation = _incarnation;
        lock (_standby)
        {
            using (incarnation.Gate.Enter())
            {
                answer = _reader.Prepare(_standby, registers, incarnation, out _);
            }

            if (answer == OpTeeSmc.ReturnOk && _standby.Message.Header.Command == OpTeeMessage.CommandCancel)
            {
                Write(_standby, CancelCalls(_standby, incarnation), reached: false);
                return null;
            }
        }

        // The driver sleeps on ETHREAD_LIMIT until one of its own calls ends; without any it would sleep for ever. A slot that is taken and belongs
        // to nobody is that of a call which begins or ends at this moment: look again.
        SpinWait spin = default;
        while (true)
        {
            incarnation = _incarnation;
            answer = OpTeeSmc.ReturnThreadLimit;
            if (Slots.CountOf(incarnation) > 0)
            {
                return null;
            }

            if (Slots.TryTake() is { } slot)
            {
                return slot;
            }

            answer = OpTeeSmc.ReturnNoMemory;
            if (Slots.AreHeldByOthersThan(incarnation))
            {
                return null;
            }

            spin.SpinOnce();
        }
    }

    private SmcOutcome StartOther(CallSlot slot, Incarnation incarnation, TeeReturnCode refusal, ref SmcRegisters registers)
    {
        uint command = slot.Message.Header.Command;
        TeeResult result;
        switch (command)
        {
            case OpTeeMessage.CommandOpenSession:
                slot.Request.Operation = TeeOperation.OpenSession;
                result = TeeResult.FromTee(refusal == TeeReturnCode.Success ? BeginOpen(slot, incarnation) : refusal);
                break;

            case OpTeeMessage.CommandCloseSession:
                slot.Request.Operation = TeeOperation.CloseSession;
                result = TeeResult.FromTee(BeginClose(slot, incarnation));
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
                slot.Request.Operation = TeeOperation.RegisterMemory;
                result = TeeResult.FromTee(BeginRegister(slot, incarnation));
                break;

            case OpTeeMessage.CommandUnregisterSharedMemory:
                slot.Request.Operation = TeeOperation.UnregisterMemory;
                result = TeeResult.FromTee(BeginUnregister(slot, incarnation));
                break;

            case OpTeeMessage.CommandCancel:
                slot.Request.Operation = TeeOperation.None;
                return Finish(slot, CancelCalls(slot, incarnation), reached: false, ref registers);

            default:
                SmcOutcome refused = Refuse(ref registers, OpTeeSmc.ReturnBadCommand);
                slot.Release();
                return refused;
        }

        if (!result.IsSuccess)
        {
            return Finish(slot, result, reached: false, ref registers);
        }

        if (slot.Request.Operation == TeeOperation.OpenSession && slot.Request.Session is not null)
        {
            // The device enumeration: its session is the mediator's own, and the backend knows nothing of it.
            return Finish(slot, TeeResult.Success, reached: true, ref registers);
        }

        return slot.IsDraining ? Drain(slot, ref registers) : Run(slot, ExecutionOf(slot), ref registers);
    }

    private TeeExecution ExecutionOf(CallSlot slot)
    {
        TeeRequest request = slot.Request;
        return request.Operation switch
        {
            TeeOperation.CloseSession => slot.OwnSession!.Backend!.Execution,
            TeeOperation.OpenSession => _partition.ExecutionOf(request.Operation, request.Application),
            _ => _partition.ExecutionOf(request.Operation, Guid.Empty),
        };
    }

    private TeeReturnCode BeginOpen(CallSlot slot, Incarnation incarnation)
    {
        Guid application = slot.Request.Application;
        bool isEnumeration = application == DeviceEnumeration.Uuid;
        if (isEnumeration ? _enumeration is null : !_access.Allows(application))
        {
            _log.ApplicationRefused(application);
            return TeeReturnCode.ItemNotFound;
        }

        TeeReturnCode refusal = slot.HasTemporaryBuffers ? AttachTemporaryBuffers(slot) : TeeReturnCode.Success;
        if (refusal != TeeReturnCode.Success)
        {
            return refusal;
        }

        using (incarnation.Gate.Enter())
        {
            slot.OwnSession = incarnation.Sessions.TryAdd(application);
        }

        slot.Request.Session = isEnumeration ? _enumeration : null;
        return slot.OwnSession is null ? TeeReturnCode.OutOfMemory : TeeReturnCode.Success;
    }

    private static TeeReturnCode BeginClose(CallSlot slot, Incarnation incarnation)
    {
        if (slot.Message.Header.ParameterCount != 0)
        {
            return TeeReturnCode.BadParameters;
        }

        using (incarnation.Gate.Enter())
        {
            if (incarnation.Sessions.Find(slot.Message.Header.Session) is not { IsOpen: true } session)
            {
                return TeeReturnCode.BadParameters;
            }

            session.IsOpen = false;
            slot.OwnSession = session;
        }

        slot.IsDraining = true;
        return TeeReturnCode.Success;
    }

    private TeeReturnCode BeginRegister(CallSlot slot, Incarnation incarnation)
    {
        const ulong PageList = OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous;
        ref readonly MessageParameter parameter = ref slot.Message.Parameters[0];
        if (slot.Message.Header.ParameterCount != 1 || parameter.Attributes != PageList)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode refusal = _buffers.TryCreateFromPageList(parameter.A, parameter.B, parameter.C, isTemporary: false, out SharedBuffer? buffer);
        if (refusal != TeeReturnCode.Success)
        {
            _log.SharingRefused(parameter.C, parameter.B, refusal);
            return refusal;
        }

        bool isAdded;
        using (incarnation.Gate.Enter())
        {
            isAdded = incarnation.Memory.TryAdd(buffer!);
        }

        if (!isAdded)
        {
            _buffers.Return(buffer!);
            _log.SharingRefused(parameter.C, parameter.B, TeeReturnCode.BadParameters);
            return TeeReturnCode.BadParameters;
        }

        slot.Buffer = buffer;
        return TeeReturnCode.Success;
    }

    private static TeeReturnCode BeginUnregister(CallSlot slot, Incarnation incarnation)
    {
        if (slot.Message.Header.ParameterCount != 1)
        {
            return TeeReturnCode.BadParameters;
        }

        using (incarnation.Gate.Enter())
        {
            if (incarnation.Memory.Find(slot.Message.Parameters[0].C) is not { IsUsable: true } buffer)
            {
                return TeeReturnCode.BadParameters;
            }

            buffer.IsUsable = false;
            slot.Buffer = buffer;
        }

        slot.IsDraining = true;
        return TeeReturnCode.Success;
    }

    private TeeResult CancelCalls(CallSlot slot, Incarnation incarnation)
    {
        if (slot.Message.Header.ParameterCount != 0
            || incarnation.Sessions.Find(slot.Message.Header.Session) is not { } session)
        {
            return TeeResult.FromTee(TeeReturnCode.BadParameters);
        }

        foreach (CallSlot other in Slots.All)
        {
            other.TryCancel(session, slot.Message.Header.CancelId);
        }

        return TeeResult.FromTee(TeeReturnCode.Success);
    }

    private TeeReturnCode AttachTemporaryBuffers(CallSlot slot)
    {
        Span<TeeParameter> parameters = slot.Request.Parameters;
        int count = (int)slot.Message.Header.ParameterCount - slot.FirstParameter;
        for (int index = 0; index < count; index++)
        {
            ref readonly MessageParameter source = ref slot.Message.Parameters[slot.FirstParameter + index];
            if (source.Type < OpTeeMessage.TypeTemporaryInput || source.A == 0)
            {
                continue;
            }

            SharedBuffer? buffer;
            TeeReturnCode refusal = (source.Attributes & OpTeeMessage.AttributeNonContiguous) != 0
                ? _buffers.TryCreateFromPageList(source.A, source.B, source.C, isTemporary: true, out buffer)
                : _buffers.TryCreateContiguous(source.A, source.B, out buffer);
            if (refusal != TeeReturnCode.Success)
            {
                _log.SharingRefused(source.C, source.B, refusal);
                return refusal;
            }

            slot.HasBuffers = true;
            parameters[index].SetMemory(parameters[index].Kind, buffer, 0, source.B);
        }

        return TeeReturnCode.Success;
    }

    /// <summary>Waits until no other call uses what this one takes away, as OP-TEE does; then goes on.</summary>
    private SmcOutcome Drain(CallSlot slot, ref SmcRegisters registers)
    {
        if (Slots.IsUsedByOthers(slot)
            && !Slots.WaitUntil(static (slots, taker) => !slots.IsUsedByOthers(taker), slot, _quantum))
        {
            return Suspend(slot, ref registers);
        }

        slot.IsDraining = false;
        return Run(slot, ExecutionOf(slot), ref registers);
    }

    private SmcOutcome Run(CallSlot slot, TeeExecution execution, ref SmcRegisters registers)
    {
        slot.ExpectBackend();
        if (execution == TeeExecution.Worker && slot.Worker is { } worker)
        {
            worker.Post();
        }
        else if (TryPerform(slot, out TeeResult result))
        {
            return Finish(slot, result, reached: true, ref registers);
        }

        return Wait(slot, ref registers);
    }

    private SmcOutcome Wait(CallSlot slot, ref SmcRegisters registers) => slot.WaitForBackend(_quantum)
        ? Finish(slot, slot.Result, reached: true, ref registers)
        : Suspend(slot, ref registers);

    private static SmcOutcome Suspend(CallSlot slot, ref SmcRegisters registers)
    {
        registers.X0 = OpTeeSmc.ReturnRpcForeignInterrupt;
        registers.X3 = slot.Suspend();
        return SmcOutcome.Handled(SuspendedRegisters);
    }

    /// <summary>Ends a call: books, results, registers.</summary>
    /// <param name="slot">The call.</param>
    /// <param name="result">The operation's result.</param>
    /// <param name="reached">Whether the operation was begun; if not, there are no outputs.</param>
    /// <param name="registers">The vCPU's registers.</param>
    private SmcOutcome Finish(CallSlot slot, TeeResult result, bool reached, ref SmcRegisters registers)
    {
        if (reached)
        {
            result = Settle(slot, result);
        }
        else
        {
            ReturnTemporaryBuffers(slot);
        }

        if (!slot.Incarnation!.IsRetired)
        {
            Write(slot, result, reached);
        }

        slot.Release();
        return Answer(ref registers, OpTeeSmc.ReturnOk);
    }

    /// <summary>Enters into the books what an operation has changed.</summary>
    private TeeResult Settle(CallSlot slot, TeeResult result)
    {
        if (slot.Request.Operation != TeeOperation.InvokeCommand)
        {
            result = SettleOther(slot, result);
        }

        if (slot.HasTemporaryBuffers)
        {
            ReturnTemporaryBuffers(slot);
        }

        return result;
    }

    private TeeResult SettleOther(CallSlot slot, TeeResult result)
    {
        Incarnation incarnation = slot.Incarnation!;
        if (slot.Request.Operation == TeeOperation.RegisterMemory && result.IsSuccess)
        {
            slot.Buffer!.IsUsable = true;
            return result;
        }

        bool returnsBuffer = false;
        using (incarnation.Gate.Enter())
        {
            switch (slot.Request.Operation)
            {
                case TeeOperation.OpenSession:
                    if (result.IsSuccess && slot.Request.Session is null)
                    {
                        result = BackendFailed(TeeOperation.OpenSession, new InvalidOperationException("The backend reported success but set no session."));
                    }

                    slot.OwnSession!.Backend = slot.Request.Session;
                    slot.OwnSession.IsOpen = result.IsSuccess;
                    if (!result.IsSuccess)
                    {
                        incarnation.Sessions.Remove(slot.OwnSession);
                    }

                    break;

                case TeeOperation.CloseSession:
                    incarnation.Sessions.Remove(slot.OwnSession!);
                    break;

                default:
                    // Registration refused, or ended.
                    _ = incarnation.Memory.Remove(slot.Buffer!.Cookie);
                    returnsBuffer = true;
                    break;
            }
        }

        if (returnsBuffer)
        {
            _buffers.Return(slot.Buffer!);
        }

        return result;
    }

    private void ReturnTemporaryBuffers(CallSlot slot)
    {
        foreach (ref TeeParameter parameter in slot.Request.Parameters)
        {
            if (parameter.Memory is SharedBuffer { IsTemporary: true } buffer)
            {
                _buffers.Return(parameter.TakeMemory(buffer));
            }
        }
    }

    // Kept out of line: inlined into the call's path its variables push each other out of the processor's registers.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Write(CallSlot slot, TeeResult result, bool reached)
    {
        ref Message message = ref slot.Message;
        int parameters = Math.Min((int)message.Header.ParameterCount, Message.UsedParameters);
        MessageWriter writer = new(_memory, _mapped, slot.MessageAddress, parameters);
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
            writer.WriteParameters(slot.FirstParameter, slot.Request.Parameters[..(parameters - slot.FirstParameter)]);
        }
    }

    private SmcOutcome Refuse(ref SmcRegisters registers, uint answer)
    {
        _log.CallRefused(registers.FunctionId.Value, registers.Pair(1, 2), answer);
        return Answer(ref registers, answer);
    }

    private static SmcOutcome Answer(ref SmcRegisters registers, uint answer)
    {
        registers.X0 = answer;
        return SmcOutcome.Handled(SmcRegisterSet.X0);
    }

    private static async ValueTask<TeeResult> ToResult(ValueTask<TeeReturnCode> operation) => TeeResult.FromTee(await operation);

    private static async ValueTask<TeeResult> ToResult(ValueTask operation)
    {
        await operation;
        return TeeResult.FromTee(TeeReturnCode.Success);
    }
}
