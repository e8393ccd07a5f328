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

    // Resume information of calls that have not begun: below what no call's index gives, above which SMC it is.
    private const uint BeginWithArgument = 1 << 8;
    private const uint BeginWithRpcArgument = 2 << 8;

    // Fields of the message that OP-TEE fills in.
    private const int SessionOffset = 8;
    private const int ReturnCodeOffset = 20;

    private static readonly SmcRegisterSet X0ToX3 = SmcRegisterSet.Range(0, 3);
    private static readonly SmcRegisterSet ResumeInformation = new(1 << 0 | 1 << 3);
    private static readonly SmcRegisterSet ResumeOfAllocation = SmcRegisterSet.Range(0, 5);

    private readonly HostOpTee _opTee;
    private readonly NonThrowingGuestMemory _memory;
    private readonly ILogger _log;
    private readonly ForwardedCall[] _calls;
    private readonly ShadowPool _shadows;
    private readonly MemoryBudget _budget;
    private readonly SharedMemoryRegistry _registry;
    private readonly ShadowPageLists _lists;
    private readonly ForwardedRpc _rpc;
    private readonly bool _hasRpcArgument;
    private readonly ForwardedSessions _sessions;
    private int _nextToEnd;
    private int _delayed;
    private volatile bool _takesNotifications;
    private volatile bool _cachesRpcMessages;
    private volatile bool _isStateUnknown;
    private volatile bool _isCallLost;

    public ForwardedCalls(
        HostOpTee opTee,
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
        _hasRpcArgument = hasRpcArgument;
        _log = log;
        _calls = new ForwardedCall[Math.Min(limits.Calls, opTee.Threads)];
        for (int index = 0; index < _calls.Length; index++)
        {
            _calls[index] = new ForwardedCall(index);
        }

        _budget = new MemoryBudget(limits.Buffers, limits.Pages, limits.PagesPerBuffer);
        _sessions = new ForwardedSessions(limits.Sessions);
        _registry = new SharedMemoryRegistry(new SharedBufferPool(memory, _budget), limits.Buffers);
        _lists = new ShadowPageLists(physical, shadows);
        _rpc = new ForwardedRpc(memory, _registry, shadows, _lists, log);
        foreach (ForwardedCall call in _calls)
        {
            _ = shadows.TryTake(1, out int page);
            call.ShadowPage = page;
        }
    }

    /// <summary>The VM's number.</summary>
    public int Id { get; }

    /// <summary>Whether the monitor has ever failed in a call, so that a thread of OP-TEE may be at work on it still.</summary>
    public bool HasLostCall => Array.Exists(_calls, call => call.IsLost);

    /// <summary>Whether OP-TEE may have something of the VM's driver.</summary>
    public bool HasLeftovers =>
        InFlight > 0 || _sessions.Count > 0 || _registry.Count > 0 || _takesNotifications || _cachesRpcMessages || _isStateUnknown;

    /// <summary>How many calls can be in flight.</summary>
    public int Count => _calls.Length;

    public OpTeeGuestStatus Status => new(_calls.Count(call => !call.IsFree), _sessions.Count, _budget.Buffers, _budget.Pages);

    public int FreeShadowPages => _shadows.FreePages;

    /// <summary>Whether the guest's driver takes notifications.</summary>
    public bool TakesNotifications
    {
        get => _takesNotifications;
        set => _takesNotifications = value;
    }

    /// <summary>Whether the guest's driver has OP-TEE keep buffers for RPC messages.</summary>
    public bool CachesRpcMessages
    {
        get => _cachesRpcMessages;
        set => _cachesRpcMessages = value;
    }

    private int InFlight
    {
        get
        {
            int count = 0;
            foreach (ForwardedCall call in _calls)
            {
                count += call.IsFree || call.IsLost ? 0 : 1;
            }

            return count;
        }
    }

    /// <summary>OP-TEE has nothing of the VM any more, and no vCPU is here: forgets all calls, sessions and buffers.</summary>
    /// <remarks>After the monitor has failed, what OP-TEE may be at work on stays: the lost calls' shadow pages, and all pins.</remarks>
    public void Clear()
    {
        bool staysPinned = _isCallLost;
        foreach (ForwardedCall call in _calls)
        {
            if (!call.IsFree && !call.IsLost)
            {
                Release(call);
            }
        }

        while (_registry.TryRemoveAny(staysPinned, out BufferRole role, out int shadowPage))
        {
            if (role == BufferRole.RpcMessage && !staysPinned)
            {
                _shadows.Return(shadowPage);
            }
        }

        _sessions.Clear();
        _takesNotifications = false;
        _cachesRpcMessages = false;
        _isStateUnknown = false;
        _isCallLost = false;
    }

    /// <summary>OP-TEE has released a buffer for RPC messages.</summary>
    /// <returns>The guest's cookie of the buffer; 0 if there is none.</returns>
    public ulong TakeBackRpcMessageBuffer(ulong cookie) => _rpc.TakeBackMessageBuffer(cookie);

    /// <summary>The guest's driver has gone: it can resume none of its calls any more.</summary>
    public void TakeOver()
    {
        foreach (ForwardedCall call in _calls)
        {
            if (call.IsSuspended)
            {
                _ = call.Suspend();
            }
        }
    }

    /// <summary>Does one step towards an OP-TEE that has nothing of the guest's earlier driver. No vCPU is here.</summary>
    public CleanupProgress CleanUp()
    {
        if (_isStateUnknown)
        {
            return CleanupProgress.Failed;
        }

        for (int count = 0; count < _calls.Length; count++)
        {
            _nextToEnd = (_nextToEnd + 1) % _calls.Length;
            if (_calls[_nextToEnd] is { IsSuspended: true } call)
            {
                return GoOnInsteadOfDriver(call);
            }
        }

        if (_takesNotifications)
        {
            return Send(OpTeeMessage.CommandStopAsyncNotification);
        }

        if (_sessions.TryGetAny(out uint session))
        {
            return Send(OpTeeMessage.CommandCloseSession, session);
        }

        if (_registry.AnyRegistered() is { } buffer)
        {
            return Send(OpTeeMessage.CommandUnregisterSharedMemory, 0, buffer);
        }

        if (_cachesRpcMessages || _registry.Count > 0)
        {
            return TakeBackCachedRpcMessages();
        }

        return HasLeftovers ? CleanupProgress.Failed : CleanupProgress.Done;
    }

    /// <summary>Suspends a call that cannot begin yet: the guest takes its interrupts and tries again.</summary>
    /// <remarks>
    /// The guest keeps X1 to X3 of FOREIGN_INTR as they are, so they say what to begin. As many calls begin so as were delayed.
    /// </remarks>
    public SmcOutcome Delay(ref SmcRegisters registers)
    {
        _ = Interlocked.Increment(ref _delayed);
        uint begin = registers.FunctionId.WithoutHint.Value == OpTeeSmc.CallWithArgument ? BeginWithArgument : BeginWithRpcArgument;
        return Answer(ref registers, OpTeeSmc.ReturnRpcForeignInterrupt, (uint)registers.X1, (uint)registers.X2, begin);
    }

    /// <summary>The driver whose calls are delayed has gone.</summary>
    public void DiscardDelayed() => Volatile.Write(ref _delayed, 0);

    /// <summary>Makes a delayed call out of its resume.</summary>
    /// <returns><see langword="false"/> if these registers resume no delayed call.</returns>
    public bool TryTakeDelayed(ref SmcRegisters registers)
    {
        uint begin = (uint)registers.X3;
        if (registers.FunctionId.WithoutHint.Value != OpTeeSmc.ReturnFromRpc || begin is not (BeginWithArgument or BeginWithRpcArgument))
        {
            return false;
        }

        int delayed;
        do
        {
            delayed = Volatile.Read(ref _delayed);
            if (delayed == 0)
            {
                return false;
            }
        }
        while (Interlocked.CompareExchange(ref _delayed, delayed - 1, delayed) != delayed);

        registers.X0 = begin == BeginWithArgument ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument;
        return true;
    }

    /// <summary>CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG.</summary>
    public SmcOutcome Start(ref SmcRegisters registers)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
        if (functionId != OpTeeSmc.CallWithArgument && !_hasRpcArgument)
        {
            return Refuse(ref registers, OpTeeSmc.ReturnBadCommand, RefusalReason.NotAgreed);
        }

        ForwardedCall? call = TryTake();
        if (call is null)
        {
            return Refuse(ref registers, InFlight > 0 ? OpTeeSmc.ReturnThreadLimit : OpTeeSmc.ReturnNoMemory, RefusalReason.NoCallSlot);
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

                WriteRefusal(call, refusal);
                Release(call);
                return Answer(ref registers, answer);
            }

            Release(call);
            return Refuse(ref registers, answer, reason);
        }

        if (!TryWriteShadow(call, out SmcRegisters forwarded))
        {
            Abandon(call);
            return Answer(ref registers, OpTeeSmc.ReturnNoMemory);
        }

        return Enter(call, ref forwarded, ref registers);
    }

    /// <summary>Which registers a resume needs: more after an ALLOC.</summary>
    public SmcRegisterSet RegistersToResume(ulong information) => (uint)information switch
    {
        BeginWithArgument or BeginWithRpcArgument => X0ToX3,
        uint token when CallOf(token) is { Stage: ForwardedStage.Allocate } call && call.IsResumedBy(token) => ResumeOfAllocation,
        _ => ResumeInformation,
    };

    /// <summary>RETURN_FROM_RPC.</summary>
    public SmcOutcome Resume(ref SmcRegisters registers)
    {
        uint information = (uint)registers.X3;
        if (CallOf(information) is not { } call || !call.TryResume(information))
        {
            return Refuse(ref registers, OpTeeSmc.ReturnResume, RefusalReason.UnknownResumeInformation);
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

    private SmcOutcome Refuse(ref SmcRegisters registers, uint answer, string? reason)
    {
        _log.CallRefused(registers.FunctionId.Value, registers.Pair(1, 2), answer, reason);
        return Answer(ref registers, answer);
    }

    private static SmcOutcome Answer(ref SmcRegisters registers, uint answer) => Answer(ref registers, answer, 0, 0, 0);

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
        call.Refusal = null;
        if (!_registry.TryFindMessage(functionId, registers, out GuestRange place) || place.Length < OpTeeMessage.HeaderSize)
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

        call.Buffer = _registry.MakeUnusable(call.Message.Parameters[0].C);
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
        return refusal == TeeReturnCode.Success && !_sessions.TryBeginOpening()
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
                    if (!_registry.TryTranslate(parameter.C, out ulong teeCookie))
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

        TeeReturnCode code = _registry.TryEnterPageList(parameter.A, parameter.B, parameter.C, BufferRole.Registered, out SharedBuffer? buffer);
        if (code == TeeReturnCode.Success)
        {
            code = _lists.TryWrite(buffer!, out call.PageList);
            if (code != TeeReturnCode.Success)
            {
                _registry.Remove(buffer!);
                buffer = null;
            }
        }

        call.Buffer = buffer;
        if (code != TeeReturnCode.Success)
        {
            bool isTaken = code == TeeReturnCode.BadParameters && _registry.TryTranslate(parameter.C, out _);
            _log.SharingRefused(parameter.C, parameter.B, code, isTaken ? RefusalReason.CookieTaken : RefusalReason.OfMemory(code));
        }

        return code;
    }

    /// <summary>Writes the message as OP-TEE is to see it, and the SMC that hands it over.</summary>
    /// <returns><see langword="false"/> if the VMM's memory failed.</returns>
    private bool TryWriteShadow(ForwardedCall call, out SmcRegisters forwarded)
    {
        forwarded = default;
        if (!_shadows.TryGetBytes(call.ShadowPage, out Span<byte> shadow))
        {
            return false;
        }

        int size = OpTeeMessage.Size((int)call.Message.Header.ParameterCount);
        call.Message.Bytes[..size].CopyTo(shadow);
        switch (call.Message.Header.Command)
        {
            case OpTeeMessage.CommandRegisterSharedMemory:
                ref MessageParameter registered = ref ParametersIn(shadow)[0];
                registered.A = _shadows.AddressOf(call.PageList).Value | (call.Message.Parameters[0].A % OpTeeMessage.PageSize);
                registered.C = call.Buffer!.TeeCookie;
                break;

            case OpTeeMessage.CommandUnregisterSharedMemory:
                ParametersIn(shadow)[0] = new MessageParameter { Attributes = OpTeeMessage.TypeRegisteredInput, C = call.Buffer!.TeeCookie };
                break;

            default:
                break;
        }

        ulong address = _shadows.AddressOf(call.ShadowPage).Value;
        forwarded.X0 = call.RpcOffset == 0 ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument;
        forwarded.X1 = address >> 32;
        forwarded.X2 = (uint)address;
        return true;
    }

    /// <summary>Goes into OP-TEE with a call, and hands what comes out of it to the guest.</summary>
    private SmcOutcome Enter(ForwardedCall call, ref SmcRegisters forwarded, ref SmcRegisters registers)
    {
        if (!TryMakeCall(call, ref forwarded))
        {
            return Answer(ref registers, OpTeeSmc.ReturnNoMemory);
        }

        uint answer = (uint)forwarded.X0;
        if (!IsRpc(answer))
        {
            return Answer(ref registers, Finish(call, answer, isForGuest: true, out _));
        }

        ulong x1 = 0;
        ulong x2 = 0;
        switch (answer)
        {
            case OpTeeSmc.ReturnRpcAllocate:
                x1 = TakeAllocation(call, forwarded);
                break;

            case OpTeeSmc.ReturnRpcFree:
                ulong freed = _rpc.Free(call, forwarded.Pair(1, 2));
                x1 = freed >> 32;
                x2 = (uint)freed;
                break;

            case OpTeeSmc.ReturnRpcCommand:
                ulong cookie = _registry.GuestCookieOf(forwarded.Pair(1, 2));
                x1 = cookie >> 32;
                x2 = (uint)cookie;
                call.Stage = TryTakeCommand(call, forwarded) && _rpc.TryDeliver(call) ? ForwardedStage.Command : ForwardedStage.Undeliverable;
                answer = call.Stage == ForwardedStage.Command ? answer : OpTeeSmc.ReturnRpcForeignInterrupt;
                break;

            default:
                break;
        }

        return Answer(ref registers, answer, x1, x2, call.Suspend());
    }

    /// <summary>Goes on with a suspended call of a driver that has gone; what it asks for is refused.</summary>
    private CleanupProgress GoOnInsteadOfDriver(ForwardedCall call)
    {
        call.TakeOver();
        SmcRegisters forwarded = default;
        forwarded.X0 = OpTeeSmc.ReturnFromRpc;
        forwarded.X3 = call.Thread;
        switch (call.Stage)
        {
            case ForwardedStage.Allocate:
                ForwardedRpc.RefuseMessageBuffer(ref forwarded);
                break;

            case ForwardedStage.Command:
                _rpc.AnswerInsteadOfDriver(call);
                break;

            default:
                break;
        }

        return EnterInsteadOfDriver(call, ref forwarded);
    }

    /// <summary>Sends a message of the forwarder's own. All calls are free.</summary>
    private CleanupProgress Send(uint command, uint session = 0, SharedBuffer? buffer = null)
    {
        if (TryTake() is not { } call)
        {
            return CleanupProgress.Failed;
        }

        ref Message message = ref call.Message;
        message = default;
        message.Header.Command = command;
        message.Header.Session = session;
        message.Header.ParameterCount = buffer is null ? 0u : 1u;
        call.IsOwn = true;
        call.Buffer = buffer;
        call.RpcOffset = (_opTee.Capabilities & OpTeeCapabilities.RpcArgument) == 0 ? 0 : OpTeeMessage.Size((int)message.Header.ParameterCount);
        if (!TryWriteShadow(call, out SmcRegisters forwarded))
        {
            Release(call);
            return CleanupProgress.Failed;
        }

        return EnterInsteadOfDriver(call, ref forwarded);
    }

    private CleanupProgress EnterInsteadOfDriver(ForwardedCall call, ref SmcRegisters forwarded)
    {
        if (!TryMakeCall(call, ref forwarded))
        {
            return CleanupProgress.Failed;
        }

        uint answer = (uint)forwarded.X0;
        if (!IsRpc(answer))
        {
            bool isOwn = call.IsOwn;
            _ = Finish(call, answer, isForGuest: false, out bool isDone);
            return isDone || !isOwn ? CleanupProgress.Advanced : CleanupProgress.Failed;
        }

        switch (answer)
        {
            case OpTeeSmc.ReturnRpcAllocate:
                _ = TakeAllocation(call, forwarded);
                break;

            case OpTeeSmc.ReturnRpcFree:
                _ = _rpc.Free(call, forwarded.Pair(1, 2));
                break;

            case OpTeeSmc.ReturnRpcCommand:
                call.Stage = TryTakeCommand(call, forwarded) ? ForwardedStage.Command : ForwardedStage.Undeliverable;
                break;

            default:
                break;
        }

        _ = call.Suspend();
        return answer == OpTeeSmc.ReturnRpcForeignInterrupt ? CleanupProgress.Interrupted : CleanupProgress.Advanced;
    }

    /// <summary>DISABLE_SHM_CACHE, once: OP-TEE gives back one buffer for RPC messages, or says that it has none.</summary>
    private CleanupProgress TakeBackCachedRpcMessages()
    {
        SmcRegisters forwarded = default;
        forwarded.X0 = OpTeeSmc.DisableShmCache;
        if (_opTee.TryCall(ref forwarded, Id) is { } failure)
        {
            _log.CallFailed(OpTeeSmc.DisableShmCache, failure);
            _isStateUnknown = true;
            return CleanupProgress.Failed;
        }

        switch ((uint)forwarded.X0)
        {
            case OpTeeSmc.ReturnOk:
                return TakeBackRpcMessageBuffer(forwarded.Pair(1, 2)) == 0 ? CleanupProgress.Failed : CleanupProgress.Advanced;

            case OpTeeSmc.ReturnNotAvailable when _registry.Count == 0:
                _cachesRpcMessages = false;
                return CleanupProgress.Advanced;

            default:
                return CleanupProgress.Failed;
        }
    }

    /// <summary>Makes the SMC of a call, and notes what has become of it.</summary>
    /// <returns><see langword="false"/> if the monitor failed: the call is lost.</returns>
    private bool TryMakeCall(ForwardedCall call, ref SmcRegisters forwarded)
    {
        if (_opTee.TryCall(ref forwarded, Id) is { } failure)
        {
            // Where OP-TEE is with this call, nobody knows: it and what it uses are left alone.
            call.IsLost = true;
            _isCallLost = true;
            _isStateUnknown = true;
            _log.MonitorFailed((uint)forwarded.X0, failure);
            return false;
        }

        if (call.FreedCookie != 0 && (uint)forwarded.X0 != OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            _rpc.EndFree(call);
        }

        call.Thread = forwarded.X3;
        call.Stage = ForwardedStage.None;
        return true;
    }

    private static bool IsRpc(uint answer) => (answer & RpcPrefix) == RpcPrefix && answer != OpTeeSmc.ReturnUnknownFunction;

    private static ulong TakeAllocation(ForwardedCall call, in SmcRegisters forwarded)
    {
        call.Stage = ForwardedStage.Allocate;
        call.RequestedSize = (uint)forwarded.X1;
        return call.RequestedSize;
    }

    private bool TryTakeCommand(ForwardedCall call, in SmcRegisters forwarded)
    {
        bool isTaken = _rpc.TryTake(call, forwarded.Pair(1, 2));
        if (!isTaken)
        {
            // It may have been about memory that OP-TEE gives back.
            _isStateUnknown = true;
        }

        return isTaken;
    }

    /// <summary>The call has ended: copies its results back and releases what OP-TEE has released.</summary>
    /// <returns>The answer for the guest.</returns>
    private uint Finish(ForwardedCall call, uint answer, bool isForGuest, out bool isDone)
    {
        TeeReturnCode code = TeeReturnCode.Generic;
        uint session = call.Message.Header.Session;
        if (answer == OpTeeSmc.ReturnOk)
        {
            if (!_shadows.TryGetBytes(call.ShadowPage, out Span<byte> shadow))
            {
                // What OP-TEE has done is unknown: whatever it may have of the call stays pinned until OP-TEE forgets the VM.
                _isStateUnknown = true;
                isDone = false;
                if (call.Message.Header.Command == OpTeeMessage.CommandOpenSession)
                {
                    _sessions.NotOpened();
                }

                Release(call);
                return OpTeeSmc.ReturnNoMemory;
            }

            MessageHeader header = MemoryMarshal.Read<MessageHeader>(shadow);
            code = (TeeReturnCode)header.ReturnCode;
            session = call.Message.Header.Command == OpTeeMessage.CommandOpenSession ? header.Session : session;
            if (isForGuest)
            {
                WriteResults(call, header, shadow);
            }
        }
        else if (answer == OpTeeSmc.ReturnThreadLimit && InFlight <= 1)
        {
            // Linux would sleep until another call of its own ends.
            answer = OpTeeSmc.ReturnNoMemory;
        }

        isDone = code == TeeReturnCode.Success;
        switch (call.Message.Header.Command)
        {
            case OpTeeMessage.CommandOpenSession when isDone:
                _sessions.Opened(session);
                break;

            case OpTeeMessage.CommandOpenSession:
                _sessions.NotOpened();
                break;

            case OpTeeMessage.CommandCloseSession when call.IsOwn && code is TeeReturnCode.BadParameters or TeeReturnCode.ItemNotFound:
                // There is no such session, which is as good.
                isDone = true;
                _sessions.Closed(session);
                break;

            case OpTeeMessage.CommandCloseSession when isDone:
                _sessions.Closed(session);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory when isDone:
            case OpTeeMessage.CommandUnregisterSharedMemory when !isDone:
                _registry.MakeUsable(call.Buffer!);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
            case OpTeeMessage.CommandUnregisterSharedMemory:
                _registry.Remove(call.Buffer!);
                break;

            case OpTeeMessage.CommandStopAsyncNotification when isDone:
                _takesNotifications = false;
                break;

            default:
                break;
        }

        Release(call);
        return answer;
    }

    /// <summary>Takes back what was entered for a call of which OP-TEE was not told.</summary>
    private void Abandon(ForwardedCall call)
    {
        switch (call.Message.Header.Command)
        {
            case OpTeeMessage.CommandOpenSession:
                _sessions.NotOpened();
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
                _registry.Remove(call.Buffer!);
                break;

            case OpTeeMessage.CommandUnregisterSharedMemory:
                _registry.MakeUsable(call.Buffer!);
                break;

            default:
                break;
        }

        Release(call);
    }

    private void Release(ForwardedCall call)
    {
        _lists.Drop(ref call.PageList);
        _lists.Drop(ref call.PayloadList);
        call.Buffer = null;
        call.RefusedCookie = 0;
        call.FreedCookie = 0;
        call.IsOwn = false;
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
    private void WriteResults(ForwardedCall call, in MessageHeader header, Span<byte> shadow)
    {
        uint command = call.Message.Header.Command;
        _ = _memory.TryWriteWords<uint>(call.MessageAddress.Add(ReturnCodeOffset), [header.ReturnCode, header.ReturnOrigin]);
        if (command == OpTeeMessage.CommandOpenSession)
        {
            _ = _memory.TryWriteWords<uint>(call.MessageAddress.Add(SessionOffset), [header.Session]);
        }

        if (command is OpTeeMessage.CommandOpenSession or OpTeeMessage.CommandInvoke)
        {
            CopyOutputs(ref call.Message, ParametersIn(shadow), call.MessageAddress);
        }
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
