using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.State;

namespace OpTeeMediator.Calls;

/// <summary>Restores what <see cref="StateSaver"/> has saved, into a paused VM that has had no call yet.</summary>
/// <remarks>Everything is checked. If it throws, the VM has a part of the state, to be disposed of as any VM
/// is.</remarks>
internal sealed class StateLoader(
    YieldingCalls calls, ITeePartition partition, SharedBufferPool buffers, DeviceEnumeration? enumeration)
{
    private const string Unsavable = "a TEE that cannot save sessions, as the host's (LinuxTeeBackend) cannot";

    private readonly DriverInstance _driverInstance = calls.DriverInstance;
    private readonly TeeExecutionPolicy _execution = partition.Execution;
    private IReadOnlyList<ITeeSession?> _saved = [];
    private readonly HashSet<object> _owned = [];
    private bool[] _isTaken = [];

    public async Task LoadAsync(StateReader reader, int sessionLimit, int bufferLimit)
    {
        int slots = reader.ReadCount(calls.Slots.All.Length, "calls at a time");
        int saved = reader.ReadCount(sessionLimit, "sessions");
        ISavableTeePartition? savable = partition as ISavableTeePartition;
        if (reader.ReadBoolean())
        {
            ReadOnlyMemory<byte> state = reader.ReadBlock();
            _saved = savable is null
                ? throw SavedTee.Refuse(SavedTee.Describe(state.Span), Unsavable)
                : [.. await savable.RestoreAsync(state, saved)
                    ?? throw new OpTeeStateException("The backend has restored no list of sessions.")];
        }
        else if (savable is not null)
        {
            throw SavedTee.Refuse(Unsavable, "one that can");
        }

        if (_saved.Count != saved)
        {
            throw StateReader.Malformed($"it has {saved} sessions, and the backend restored {_saved.Count}");
        }

        _isTaken = new bool[saved];
        _driverInstance.RpcBuffers.Restore(reader, slots);
        ReadSessions(reader, sessionLimit);
        await ReadBuffers(reader, bufferLimit);
        calls.Notifications.Restore(reader);
        for (int index = 0; index < slots; index++)
        {
            CallSlot slot = calls.Slots.All[index];
            int generation = (int)reader.ReadUInt32();
            bool isSuspended = reader.ReadBoolean();
            if (isSuspended)
            {
                slot.DriverInstance = _driverInstance;
            }

            slot.Restore(generation, isSuspended ? CallState.Suspended : CallState.Free);
            if (isSuspended)
            {
                ReadCall(slot, reader);
            }
        }
    }

    /// <summary>Closes the sessions that a state which was refused has not taken.</summary>
    /// <returns>The first failure, which keeps no other session from being closed.</returns>
    public async ValueTask<Exception?> CloseUntakenAsync()
    {
        AbsentGuest absent = new(calls.Pause) { DriverInstance = _driverInstance };
        TeeRequest closing = new() { Operation = TeeOperation.CloseSession, Guest = absent };
        _ = closing.RequestTermination();
        Exception? failure = null;
        for (int index = 0; index < _saved.Count; index++)
        {
            if (_saved[index] is not { } session || (index < _isTaken.Length && _isTaken[index]))
            {
                continue;
            }

            try
            {
                await session.CloseAsync(closing);
            }
            catch (Exception exception)
            {
                failure ??= exception;
            }
        }

        return failure;
    }

    private void ReadSessions(StateReader reader, int limit)
    {
        using SequenceLock.Scope scope = _driverInstance.TablesLock.Enter();
        _driverInstance.Sessions.RestoreIds(reader);
        int count = reader.ReadCount(limit, "sessions");
        for (int index = 0; index < count; index++)
        {
            uint id = reader.ReadUInt32();
            Session session = _driverInstance.Sessions.Restore(id, reader.ReadUuid());
            session.IsOpen = reader.ReadBoolean();
            session.Backend = ReadBackend(reader);
            session.Execution =
                session.Backend is null or DeadSession or DeviceEnumeration
                    ? TeeExecution.Inline
                    : _execution.OfApplication(session.Application);
            if (session is { IsOpen: true, Backend: null })
            {
                throw StateReader.Malformed("an open session has no backend");
            }
        }
    }

    private ITeeSession? ReadBackend(StateReader reader)
    {
        switch (reader.ReadEnum<SavedSessionKind>())
        {
            case SavedSessionKind.None:
                return null;

            case SavedSessionKind.Enumeration:
                return enumeration as ITeeSession ?? DeadSession.Instance;

            case SavedSessionKind.Dead:
                return DeadSession.Instance;

            default:
                int index = (int)reader.ReadUInt32();
                if ((uint)index >= (uint)_isTaken.Length || _isTaken[index])
                {
                    throw StateReader.Malformed("a session is there twice");
                }

                _isTaken[index] = true;
                return _saved[index] ?? DeadSession.Instance;
        }
    }

    private async Task ReadBuffers(StateReader reader, int limit)
    {
        int count = reader.ReadCount(limit, "shared buffers");
        for (int index = 0; index < count; index++)
        {
            SharedBuffer buffer = ReadBuffer(reader, out bool isRegistered);
            if (!isRegistered)
            {
                continue;
            }

            TeeReturnCode code = await partition.RegisterMemoryAsync(buffer);
            if (code != TeeReturnCode.Success)
            {
                throw new OpTeeStateException(
                    $"The TEE has refused a buffer of {buffer.Size} bytes that the VM shares with it: {code}.");
            }

            buffer.IsKnownToTee = true;
        }
    }

    private SharedBuffer ReadBuffer(StateReader reader, out bool isRegistered)
    {
        SharedBuffer buffer = buffers.Restore(reader);
        bool isAdded = false;
        if (!buffer.IsTemporary)
        {
            using SequenceLock.Scope scope = _driverInstance.TablesLock.Enter();
            isAdded = _driverInstance.Memory.TryAdd(buffer);
        }

        if (!isAdded)
        {
            buffers.Return(buffer);
            throw StateReader.Malformed("a buffer is there twice");
        }

        buffer.IsUsable = reader.ReadBoolean();
        isRegistered = reader.ReadBoolean();
        return isRegistered || !buffer.IsUsable
            ? buffer
            : throw StateReader.Malformed("a buffer that calls may use is not known to the TEE");
    }

    private void ReadCall(CallSlot slot, StateReader reader)
    {
        RpcStage stage = reader.ReadEnum<RpcStage>();
        slot.CannotSleep = reader.ReadBoolean();
        bool sleeps = reader.ReadBoolean();
        slot.MessageAddress = reader.ReadUInt64();
        slot.RpcOffset = reader.ReadCount(OpTeeMessage.PageSize, "bytes before an RPC message");
        slot.FirstParameter = reader.ReadCount(Message.MetaParameters, "meta parameters");
        reader.ReadRaw(slot.Message.Bytes.Length).CopyTo(slot.Message.Bytes);
        slot.RpcBuffer = reader.ReadBoolean() ? RpcBuffer.Restore(reader) : null;
        slot.Stage = stage;
        TeeOperation kind = reader.ReadEnum<TeeOperation>();
        OperationPhase phase = reader.ReadEnum<OperationPhase>();
        TeeResult result = new((TeeReturnCode)reader.ReadUInt32(), (TeeOrigin)reader.ReadUInt32());
        ReadRequest(slot, reader);
        slot.Session = FindSession(reader.ReadUInt32());
        slot.OwnSession = FindSession(reader.ReadUInt32());
        bool hasBuffer = reader.ReadBoolean();
        ulong cookie = reader.ReadUInt64();
        slot.Buffer = hasBuffer ? _driverInstance.Memory.Find(cookie) : null;
        slot.Request.Session = kind == TeeOperation.OpenSession ? slot.OwnSession?.Backend : slot.Session?.Backend;
        ReadParameters(slot, reader);
        ReadRpc(slot, reader);
        Check(slot, kind, phase);
        CheckOwned(slot, kind, isDone: phase == OperationPhase.Ended, result.IsSuccess);
        slot.Request.Operation = kind;
        slot.Operation.Restore(kind, phase, result);
        if (sleeps)
        {
            slot.Sleep.Restore();
        }
    }

    /// <summary>Checks that the call has what its next step uses.</summary>
    private static void Check(CallSlot slot, TeeOperation kind, OperationPhase phase)
    {
        bool isComplete = kind switch
        {
            TeeOperation.None => phase == OperationPhase.Draining,
            TeeOperation.InvokeCommand => slot.Session?.Backend is not null && phase != OperationPhase.Draining,
            TeeOperation.OpenSession => slot.OwnSession is { IsOpen: false } own && phase != OperationPhase.Draining
                && (own.Backend is null || phase == OperationPhase.Ended),
            TeeOperation.CloseSession => slot.OwnSession is { IsOpen: false } closing
                && (closing.Backend is not null || phase == OperationPhase.Ended),
            TeeOperation.RegisterMemory => slot.Buffer is not null && phase != OperationPhase.Draining,
            _ => slot.Buffer is not null,
        };
        bool hasPlace = slot.RpcOffset != 0 || slot.RpcBuffer is not null
            || slot.Stage is RpcStage.None or RpcStage.Allocating or RpcStage.RefusingMemory or RpcStage.Concluding;
        bool isWaiting = phase is OperationPhase.Held or OperationPhase.Draining or OperationPhase.Ended;
        if (!isComplete || !hasPlace || !isWaiting
            || slot.Message.Header.Command != CommandOf(kind)
            || slot.Message.Header.ParameterCount < slot.FirstParameter
            || slot.Message.Header.ParameterCount - slot.FirstParameter > TeeRequest.ParameterCount)
        {
            throw StateReader.Malformed($"call {slot.Index} ({kind}, {phase}) is incomplete");
        }
    }

    /// <summary>Checks that what the call enters or takes away is its own, and known to the TEE or not.</summary>
    private void CheckOwned(CallSlot slot, TeeOperation kind, bool isDone, bool hasSucceeded)
    {
        object? owned = kind switch
        {
            TeeOperation.OpenSession or TeeOperation.CloseSession => slot.OwnSession,
            TeeOperation.RegisterMemory or TeeOperation.UnregisterMemory => slot.Buffer,
            _ => null,
        };
        bool isKnown = kind == TeeOperation.RegisterMemory ? isDone && hasSucceeded : !isDone;
        if (owned is not null
            && (!_owned.Add(owned)
                || (owned is SharedBuffer buffer && (buffer.IsUsable || buffer.IsKnownToTee != isKnown))))
        {
            throw StateReader.Malformed($"what call {slot.Index} ({kind}) changes is not its own");
        }
    }

    private static uint CommandOf(TeeOperation kind) => kind switch
    {
        TeeOperation.None => OpTeeMessage.CommandStopAsyncNotification,
        TeeOperation.OpenSession => OpTeeMessage.CommandOpenSession,
        TeeOperation.InvokeCommand => OpTeeMessage.CommandInvoke,
        TeeOperation.CloseSession => OpTeeMessage.CommandCloseSession,
        TeeOperation.RegisterMemory => OpTeeMessage.CommandRegisterSharedMemory,
        _ => OpTeeMessage.CommandUnregisterSharedMemory,
    };

    private static void ReadRequest(CallSlot slot, StateReader reader)
    {
        TeeRequest request = slot.Request;
        request.Application = reader.ReadUuid();
        TeeLogin login = (TeeLogin)reader.ReadUInt32();
        Guid client = reader.ReadUuid();
        if (!ClientIdentity.TryClaim(login, client, out ClientIdentity identity))
        {
            throw StateReader.Malformed($"a call has the login {login}");
        }

        request.Client = identity;
        request.CommandId = reader.ReadUInt32();
        if (reader.ReadBoolean())
        {
            _ = request.RequestCancellation();
        }
    }

    private Session? FindSession(uint id) => id == 0
        ? null
        : _driverInstance.Sessions.Find(id) ?? throw StateReader.Malformed($"a call is in the session 0x{id:x}");

    private void ReadParameters(CallSlot slot, StateReader reader)
    {
        Span<TeeParameter> parameters = slot.Request.WritableParameters;
        for (int index = 0; index < parameters.Length; index++)
        {
            TeeParameterKind kind = reader.ReadEnum<TeeParameterKind>();
            ulong first = reader.ReadUInt64();
            ulong second = reader.ReadUInt64();
            ulong third = reader.ReadUInt64();
            SharedBuffer? buffer = reader.ReadBoolean() ? ReadParameterBuffer(slot, index, reader) : null;
            bool isMemory = kind >= TeeParameterKind.MemoryInput;
            if ((buffer is not null && !isMemory)
                || (buffer is not null && (first > buffer.Size || third > buffer.Size - first)))
            {
                throw StateReader.Malformed("a parameter is outside its buffer");
            }

            if (isMemory)
            {
                parameters[index].SetMemory(kind, buffer, first, third);
                parameters[index].Size = second;
            }
            else
            {
                parameters[index].SetValue(kind, first, second);
            }
        }
    }

    private SharedBuffer ReadParameterBuffer(CallSlot slot, int parameter, StateReader reader)
    {
        if (!reader.ReadBoolean())
        {
            SharedBuffer registered = _driverInstance.Memory.Find(reader.ReadUInt64())
                ?? throw StateReader.Malformed("a parameter's buffer is missing");
            slot.Buffers.Use(parameter, registered);
            return registered;
        }

        SharedBuffer temporary = buffers.Restore(reader);
        slot.Buffers.Attach(parameter, temporary);
        return temporary.IsTemporary ? temporary : throw StateReader.Malformed("a buffer of a call is none");
    }

    private void ReadRpc(CallSlot slot, StateReader reader)
    {
        uint command = reader.ReadUInt32();
        int count = reader.ReadCount(RpcMessages.ParameterCount, "RPC parameters");
        slot.Rpc.Restore(command, count);
        foreach (ref TeeParameter parameter in slot.Rpc.WritableParameters[..count])
        {
            TeeParameterKind kind = reader.ReadEnum<TeeParameterKind>();
            ulong first = reader.ReadUInt64();
            ulong second = reader.ReadUInt64();
            ulong third = reader.ReadUInt64();
            if (kind >= TeeParameterKind.MemoryInput)
            {
                // The answer is read for its memory alone, which is in the list below.
                parameter.SetMemory(kind, null, 0, 0);
            }
            else
            {
                parameter.SetValue(kind, first, second);
                parameter.C = third;
            }
        }

        int allocated = reader.ReadCount(int.MaxValue, "buffers");
        for (int index = 0; index < allocated; index++)
        {
            slot.Rpc.Allocated.Add(buffers.Restore(reader));
        }
    }
}
