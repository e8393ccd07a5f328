using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
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
    private const uint RpcPrefix = 0xffff_0000;
    private const ulong Meta = OpTeeMessage.AttributeMeta | OpTeeMessage.TypeValueInput;
    private const ulong PageList = OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous;

    // Fields of the message that OP-TEE fills in.
    private const int SessionOffset = 8;
    private const int ReturnCodeOffset = 20;

    private static readonly SmcRegisterSet X0ToX3 = SmcRegisterSet.Range(0, 3);
    private static readonly SmcRegisterSet ResumeInformation = new(1 << 0 | 1 << 3);
    private static readonly SmcRegisterSet ResumeOfAllocation = SmcRegisterSet.Range(0, 5);

    private readonly VirtualizedOpTee _opTee;
    private readonly NonThrowingGuestMemory _memory;
    private readonly OpTeeLimits _limits;
    private readonly ILogger _log;
    private readonly ForwardedCall[] _calls;
    private readonly ShadowPool _shadows;
    private readonly MemoryBudget _budget;
    private readonly ForwardedBooks _books;
    private readonly ShadowPageLists _lists;
    private readonly ForwardedRpc _rpc;
    private readonly bool _hasRpcArgument;
    private int _sessions;
    private volatile bool _takesNotifications;

    public ForwardedCalls(
        VirtualizedOpTee opTee,
        int id,
        NonThrowingGuestMemory memory,
        NonThrowingPhysicalMemory physical,
        OpTeeLimits limits,
        bool hasRpcArgument,
        ILogger log)
    {
        ShadowPool shadows = new(physical);
        _opTee = opTee;
        Id = id;
        _memory = memory;
        _shadows = shadows;
        _limits = limits;
        _hasRpcArgument = hasRpcArgument;
        _log = log;
        _calls = new ForwardedCall[Math.Min(limits.Calls, opTee.Threads)];
        for (int index = 0; index < _calls.Length; index++)
        {
            _calls[index] = new ForwardedCall(index);
        }

        _budget = new MemoryBudget(limits.Buffers, limits.Pages, limits.PagesPerBuffer);
        _books = new ForwardedBooks(_calls, new SharedBufferPool(memory, _budget), limits.Buffers);
        _lists = new ShadowPageLists(physical, shadows);
        _rpc = new ForwardedRpc(memory, _books, shadows, _lists, log);
        Renew();
    }

    /// <summary>The VM's number.</summary>
    public int Id { get; }

    /// <summary>Whether the monitor failed in a call, so that a thread of OP-TEE may be at work on it still.</summary>
    public bool HasLostCall { get; private set; }

    /// <summary>How many calls can be in flight.</summary>
    public int Count => _calls.Length;

    public OpTeeGuestStatus Status => new(InFlight, Volatile.Read(ref _sessions), _budget.Buffers, _budget.Pages);

    /// <summary>Whether the guest's driver takes notifications.</summary>
    public bool TakesNotifications
    {
        get => _takesNotifications;
        set => _takesNotifications = value;
    }

    private int InFlight
    {
        get
        {
            int count = 0;
            foreach (ForwardedCall call in _calls)
            {
                count += call.IsFree ? 0 : 1;
            }

            return count;
        }
    }

    /// <summary>OP-TEE holds nothing of the VM any more, and no vCPU is here: forgets all calls and buffers.</summary>
    public void Renew()
    {
        _books.Clear();
        _shadows.Clear();
        _sessions = 0;
        _takesNotifications = false;
        foreach (ForwardedCall call in _calls)
        {
            _ = _shadows.TryTake(1, out int page);
            call.ShadowPage = page;
            call.PageList = ShadowPageLists.None;
            call.PayloadList = ShadowPageLists.None;
            call.Buffer = null;
            call.RefusedCookie = 0;
            call.FreedCookie = 0;
            call.ClearCookies();
            if (!call.IsFree)
            {
                // A generation on, so that what the guest still holds resumes nothing.
                _ = call.Suspend();
                call.Release();
            }
        }
    }

    /// <summary>OP-TEE has given up a buffer for RPC messages.</summary>
    public void ForgetRpcMessageBuffer(ulong cookie) => _rpc.ForgetMessageBuffer(cookie);

    /// <summary>CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG.</summary>
    public SmcOutcome Start(ref SmcRegisters registers)
    {
        uint functionId = registers.FunctionId.Value;
        if (functionId != OpTeeSmc.CallWithArgument && !_hasRpcArgument)
        {
            return Refuse(ref registers, OpTeeSmc.ReturnBadCommand);
        }

        ForwardedCall? call = TryTake();
        if (call is null)
        {
            return Refuse(ref registers, OpTeeSmc.ReturnThreadLimit);
        }

        uint answer = Prepare(call, functionId, registers, out TeeReturnCode refusal);
        if (answer != OpTeeSmc.ReturnOk || refusal != TeeReturnCode.Success)
        {
            if (answer == OpTeeSmc.ReturnOk)
            {
                WriteRefusal(call, refusal);
            }

            Release(call);
            return Refuse(ref registers, answer);
        }

        WriteShadow(call);
        ulong address = _shadows.AddressOf(call.ShadowPage).Value;
        SmcRegisters forwarded = default;
        forwarded.X0 = call.RpcOffset == 0 ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument;
        forwarded.X1 = address >> 32;
        forwarded.X2 = (uint)address;
        return Enter(call, ref forwarded, ref registers);
    }

    /// <summary>Which registers a resume needs: more after an ALLOC.</summary>
    public SmcRegisterSet RegistersToResume(ulong information) =>
        CallOf((uint)information) is { Stage: ForwardedStage.Allocate } call && call.IsResumedBy((uint)information) ? ResumeOfAllocation : ResumeInformation;

    /// <summary>RETURN_FROM_RPC.</summary>
    public SmcOutcome Resume(ref SmcRegisters registers)
    {
        uint information = (uint)registers.X3;
        if (CallOf(information) is not { } call || !call.TryResume(information))
        {
            return Refuse(ref registers, OpTeeSmc.ReturnResume);
        }

        SmcRegisters forwarded = default;
        forwarded.X0 = OpTeeSmc.ReturnFromRpc;
        forwarded.X3 = call.Thread;
        switch (call.Stage)
        {
            case ForwardedStage.Allocate:
                _rpc.TakeMessageBuffer(call, registers, ref forwarded);
                break;

            case ForwardedStage.Command:
                _rpc.TakeAnswer(call);
                break;

            default:
                break;
        }

        return Enter(call, ref forwarded, ref registers);
    }

    private ForwardedCall? TryTake()
    {
        foreach (ForwardedCall call in _calls)
        {
            if (call.TryTake())
            {
                return call;
            }
        }

        return null;
    }

    private ForwardedCall? CallOf(uint information)
    {
        int index = ForwardedCall.IndexOf(information);
        return (uint)index < (uint)_calls.Length ? _calls[index] : null;
    }

    private static SmcOutcome Refuse(ref SmcRegisters registers, uint answer) => Answer(ref registers, answer, 0, 0, 0);

    private static SmcOutcome Answer(ref SmcRegisters registers, uint x0, ulong x1, ulong x2, ulong x3)
    {
        registers.X0 = x0;
        registers.X1 = x1;
        registers.X2 = x2;
        registers.X3 = x3;
        return SmcOutcome.Handled(X0ToX3);
    }

    /// <summary>Copies the message, checks it, and enters what OP-TEE is to hear of.</summary>
    private uint Prepare(ForwardedCall call, uint functionId, in SmcRegisters registers, out TeeReturnCode refusal)
    {
        refusal = TeeReturnCode.Success;
        if (!_books.TryFindMessage(functionId, registers, out GuestRange place) || place.Length < OpTeeMessage.HeaderSize)
        {
            return OpTeeSmc.ReturnBadAddress;
        }

        ref Message message = ref call.Message;
        Span<byte> bytes = message.Bytes;
        if (!_memory.TryRead(place.Start, place.Length < (ulong)bytes.Length ? bytes[..(int)place.Length] : bytes))
        {
            return OpTeeSmc.ReturnBadAddress;
        }

        uint parameters = message.Header.ParameterCount;
        int rpcSize = functionId == OpTeeSmc.CallWithArgument ? 0 : OpTeeMessage.Size(_opTee.RpcParameters);
        if (parameters > OpTeeMessage.MaximumParameters || (ulong)(OpTeeMessage.Size((int)parameters) + rpcSize) > place.Length)
        {
            return OpTeeSmc.ReturnBadAddress;
        }

        call.MessageAddress = place.Start;
        call.RpcOffset = rpcSize == 0 ? 0 : OpTeeMessage.Size((int)parameters);
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
                refusal = parameters == 1 && (call.Buffer = _books.MakeUnusable(message.Parameters[0].C)) is not null
                    ? TeeReturnCode.Success
                    : TeeReturnCode.BadParameters;
                return OpTeeSmc.ReturnOk;

            case OpTeeMessage.CommandCloseSession:
            case OpTeeMessage.CommandCancel:
            case OpTeeMessage.CommandDoBottomHalf:
            case OpTeeMessage.CommandStopAsyncNotification:
                refusal = parameters == 0 ? TeeReturnCode.Success : TeeReturnCode.BadParameters;
                return OpTeeSmc.ReturnOk;

            default:
                // What we do not know may carry addresses.
                return OpTeeSmc.ReturnBadCommand;
        }
    }

    private TeeReturnCode CheckOpening(ForwardedCall call)
    {
        ref Message message = ref call.Message;
        if (message.Header.ParameterCount < Message.MetaParameters || message.Parameters[0].Attributes != Meta || message.Parameters[1].Attributes != Meta)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode refusal = CheckParameters(call, Message.MetaParameters);
        if (refusal == TeeReturnCode.Success && Interlocked.Increment(ref _sessions) > _limits.Sessions)
        {
            _ = Interlocked.Decrement(ref _sessions);
            return TeeReturnCode.OutOfMemory;
        }

        return refusal;
    }

    private TeeReturnCode CheckParameters(ForwardedCall call, int first)
    {
        ref Message message = ref call.Message;
        int count = (int)message.Header.ParameterCount;
        if (count > first + TeeRequest.ParameterCount)
        {
            return TeeReturnCode.BadParameters;
        }

        for (int index = first; index < count; index++)
        {
            ref readonly MessageParameter parameter = ref message.Parameters[index];
            switch (parameter.Attributes)
            {
                case <= OpTeeMessage.TypeValueInOut:
                    break;

                case OpTeeMessage.TypeRegisteredInput or OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut:
                    call.Publish(index, parameter.C);
                    if (!_books.IsRegistered(parameter.C))
                    {
                        return TeeReturnCode.BadParameters;
                    }

                    break;

                // NULL. Other memory of the call itself is refused: contiguous, it would have to be in reserved memory; OP-TEE 4.5 keeps the pages of a page list
                // for ever, and so would we have to.
                case OpTeeMessage.TypeTemporaryInput or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut when parameter.A == 0:
                    break;

                default:
                    return TeeReturnCode.BadParameters;
            }
        }

        return TeeReturnCode.Success;
    }

    private TeeReturnCode EnterBuffer(ForwardedCall call)
    {
        ref readonly MessageParameter parameter = ref call.Message.Parameters[0];
        if (call.Message.Header.ParameterCount != 1 || parameter.Attributes != PageList)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = _books.TryEnterPageList(parameter.A, parameter.B, parameter.C, BufferRole.Registered, out SharedBuffer? buffer);
        if (code == TeeReturnCode.Success)
        {
            code = _lists.TryWrite(buffer!, out call.PageList);
            if (code != TeeReturnCode.Success)
            {
                _books.Remove(buffer!);
                buffer = null;
            }
        }

        call.Buffer = buffer;
        if (code != TeeReturnCode.Success)
        {
            _log.SharingRefused(parameter.C, parameter.B, code);
        }

        return code;
    }

    /// <summary>Writes the message as OP-TEE is to see it.</summary>
    private void WriteShadow(ForwardedCall call)
    {
        int size = OpTeeMessage.Size((int)call.Message.Header.ParameterCount);
        Span<byte> shadow = _shadows.BytesOf(call.ShadowPage);
        call.Message.Bytes[..size].CopyTo(shadow);
        if (call.Message.Header.Command == OpTeeMessage.CommandRegisterSharedMemory)
        {
            ulong list = _shadows.AddressOf(call.PageList).Value;
            ParametersIn(shadow)[0].A = list | (call.Message.Parameters[0].A % OpTeeMessage.PageSize);
        }
    }

    /// <summary>Goes into OP-TEE with a call, and hands what comes out of it to the guest.</summary>
    private SmcOutcome Enter(ForwardedCall call, ref SmcRegisters forwarded, ref SmcRegisters registers)
    {
        if (_opTee.TryCall(ref forwarded, Id) is { } failure)
        {
            // Where OP-TEE is with this call, nobody knows: it and what it uses are left alone.
            HasLostCall = true;
            _log.MonitorFailed((uint)forwarded.X0, failure);
            return Refuse(ref registers, OpTeeSmc.ReturnNoMemory);
        }

        uint answer = (uint)forwarded.X0;
        if (call.FreedCookie != 0 && answer != OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            _rpc.EndFree(call);
        }

        if ((answer & RpcPrefix) != RpcPrefix || answer == OpTeeSmc.ReturnUnknownFunction)
        {
            return Finish(call, answer, ref registers);
        }

        call.Thread = forwarded.X3;
        call.Stage = ForwardedStage.None;
        ulong x1 = 0;
        ulong x2 = 0;
        switch (answer)
        {
            case OpTeeSmc.ReturnRpcAllocate:
                call.Stage = ForwardedStage.Allocate;
                call.RequestedSize = (uint)forwarded.X1;
                x1 = call.RequestedSize;
                break;

            case OpTeeSmc.ReturnRpcFree:
                ulong cookie = forwarded.Pair(1, 2);
                x1 = cookie >> 32;
                x2 = (uint)cookie;
                ForwardedRpc.Free(call, cookie);
                break;

            case OpTeeSmc.ReturnRpcCommand:
                x1 = (uint)forwarded.X1;
                x2 = (uint)forwarded.X2;
                call.Stage = _rpc.TryDeliver(call, forwarded.Pair(1, 2)) ? ForwardedStage.Command : ForwardedStage.Undeliverable;
                answer = call.Stage == ForwardedStage.Command ? answer : OpTeeSmc.ReturnRpcForeignInterrupt;
                break;

            default:
                break;
        }

        return Answer(ref registers, answer, x1, x2, call.Suspend());
    }

    /// <summary>The call has ended: copies its results back and lets go of what OP-TEE has let go.</summary>
    private SmcOutcome Finish(ForwardedCall call, uint answer, ref SmcRegisters registers)
    {
        TeeReturnCode code = TeeReturnCode.Generic;
        if (answer == OpTeeSmc.ReturnOk)
        {
            code = WriteResults(call);
        }
        else if (answer == OpTeeSmc.ReturnThreadLimit && InFlight <= 1)
        {
            // Linux would sleep until another call of its own ends.
            answer = OpTeeSmc.ReturnNoMemory;
        }

        bool isDone = code == TeeReturnCode.Success;
        switch (call.Message.Header.Command)
        {
            case OpTeeMessage.CommandOpenSession when !isDone:
            case OpTeeMessage.CommandCloseSession when isDone:
                _ = Interlocked.Decrement(ref _sessions);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory when isDone:
            case OpTeeMessage.CommandUnregisterSharedMemory when !isDone:
                _books.MakeUsable(call.Buffer!);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
            case OpTeeMessage.CommandUnregisterSharedMemory:
                _books.Remove(call.Buffer!);
                break;

            case OpTeeMessage.CommandStopAsyncNotification when isDone:
                _takesNotifications = false;
                break;

            default:
                break;
        }

        Release(call);
        return Refuse(ref registers, answer);
    }

    private void Release(ForwardedCall call)
    {
        _lists.Drop(ref call.PageList);
        _lists.Drop(ref call.PayloadList);
        call.Buffer = null;
        call.RefusedCookie = 0;
        call.ClearCookies();
        call.Release();
    }

    /// <summary>Writes what OP-TEE would have answered to a message that it does not get.</summary>
    private void WriteRefusal(ForwardedCall call, TeeReturnCode refusal)
    {
        // Registering and unregistering leave the origin as it is.
        bool hasOrigin = call.Message.Header.Command is not (OpTeeMessage.CommandRegisterSharedMemory or OpTeeMessage.CommandUnregisterSharedMemory);
        uint origin = hasOrigin ? (uint)TeeOrigin.Tee : call.Message.Header.ReturnOrigin;
        _ = _memory.TryWriteWords<uint>(call.MessageAddress.Add(ReturnCodeOffset), [(uint)refusal, origin]);
        if (call.Message.Header.Command == OpTeeMessage.CommandOpenSession)
        {
            _ = _memory.TryWriteWords<uint>(call.MessageAddress.Add(SessionOffset), [0u]);
        }
    }

    /// <summary>Copies the outputs to the guest's message; what the guest may have put beside them stays. A write that fails is the guest's loss.</summary>
    private TeeReturnCode WriteResults(ForwardedCall call)
    {
        Span<byte> shadow = _shadows.BytesOf(call.ShadowPage);
        MessageHeader header = MemoryMarshal.Read<MessageHeader>(shadow);
        _ = _memory.TryWriteWords<uint>(call.MessageAddress.Add(ReturnCodeOffset), [header.ReturnCode, header.ReturnOrigin]);
        if (header.Command == OpTeeMessage.CommandOpenSession)
        {
            _ = _memory.TryWriteWords<uint>(call.MessageAddress.Add(SessionOffset), [header.Session]);
        }

        if (header.Command is OpTeeMessage.CommandOpenSession or OpTeeMessage.CommandInvoke)
        {
            CopyOutputs(ref call.Message, ParametersIn(shadow), call.MessageAddress);
        }

        return (TeeReturnCode)header.ReturnCode;
    }

    /// <summary>Copies the outputs among parameters to guest memory: two words of a value, the size of a memory reference.</summary>
    private void CopyOutputs(ref Message message, ReadOnlySpan<MessageParameter> results, GuestAddress address)
    {
        for (int index = 0; index < (int)message.Header.ParameterCount; index++)
        {
            GuestAddress words = address.Add((ulong)OpTeeMessage.Size(index) + sizeof(ulong));
            ref readonly MessageParameter result = ref results[index];
            switch (message.Parameters[index].Type)
            {
                case OpTeeMessage.TypeValueOutput or OpTeeMessage.TypeValueInOut:
                    _ = _memory.TryWriteWords<ulong>(words, [result.A, result.B]);
                    break;

                case OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut:
                    _ = _memory.TryWriteWords<ulong>(words.Add(sizeof(ulong)), [result.B]);
                    break;

                default:
                    break;
            }
        }
    }

    private static Span<MessageParameter> ParametersIn(Span<byte> message) => MemoryMarshal.Cast<byte, MessageParameter>(message[OpTeeMessage.HeaderSize..]);
}
