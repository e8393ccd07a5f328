using OpTeeMediator.Backends;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.State;

namespace OpTeeMediator.Calls;

/// <summary>Saves what a paused guest has at the mediator: sessions, shared memory, suspended calls,
/// notifications.</summary>
/// <remarks>
/// <para>Operations that have begun at the backend do not move: the saved call ends as if its application had died, or,
/// where that is without loss, as if it had not begun or had succeeded. Nothing is changed.</para>
/// <para>Earlier drivers that are not torn down yet, and their calls, stay behind.</para>
/// </remarks>
internal sealed class StateSaver(YieldingCalls calls, ITeePartition partition, DeviceEnumeration? enumeration)
{
    // The guest decides how many there are.
    private const int MostNamed = 8;

    private readonly StateWriter _writer = new();
    private readonly List<ITeeSession> _saved = [];
    private readonly Dictionary<Session, int> _places = [];
    private readonly HashSet<Session> _dead = [];
    private readonly List<(Guid Application, string What)> _dropped = [];
    private readonly DriverInstance _driverInstance = calls.DriverInstance;

    public StateWriter Writer => _writer;

    /// <summary>How many calls and sessions are not in the state.</summary>
    public int DroppedCount => _dropped.Count;

    /// <summary>Saves.</summary>
    /// <param name="dropsWhatCannotMove">Whether what cannot move is dropped; otherwise it is an error.</param>
    public async Task SaveAsync(bool dropsWhatCannotMove)
    {
        foreach (CallSlot slot in Suspended)
        {
            if (IsAtBackend(slot) && slot.Operation.Kind is TeeOperation.InvokeCommand or TeeOperation.OpenSession)
            {
                Guid application = ApplicationOf(slot);
                _dropped.Add((application, $"an operation ({slot.Operation.Kind}) runs in application {application}"));

                // Its application is in the middle of a command.
                _ = slot.Session is { } session && _dead.Add(session);
            }
        }

        ISavableTeePartition? savable = partition as ISavableTeePartition;
        foreach (Session session in _driverInstance.Sessions.All)
        {
            if (BackendOf(session) is { } backend && !_dead.Contains(session) && !IsOwn(backend))
            {
                Place(session, backend, savable);
            }
        }

        if (_dropped.Count > 0 && !dropsWhatCannotMove)
        {
            throw new OpTeeStateException(
                $"{_dropped.Count} of the VM's calls and sessions cannot move: "
                + $"{string.Join("; ", _dropped.Take(MostNamed).Select(one => one.What))}. Wait for their end, or set "
                + $"{nameof(OpTeeStateOptions)}.{nameof(OpTeeStateOptions.DropsWhatCannotMove)}: its clients then get "
                + "TEE_ERROR_TARGET_DEAD.");
        }

        _writer.WriteCount(calls.Slots.All.Length);
        _writer.WriteCount(_saved.Count);
        _writer.WriteBoolean(savable is not null);
        if (savable is not null)
        {
            _writer.WriteBlock((await savable.SaveAsync(_saved)).Span);
        }

        WriteTables();
        calls.Notifications.Save(_writer);
        foreach (CallSlot slot in calls.Slots.All)
        {
            bool isSuspended = IsSuspended(slot);
            _writer.WriteUInt32((uint)slot.Generation);
            _writer.WriteBoolean(isSuspended);
            if (isSuspended)
            {
                WriteCall(slot);
            }
        }
    }

    /// <summary>The applications of what is not in the state, each with the number of its calls and sessions.</summary>
    public string DescribeDropped()
    {
        IGrouping<Guid, (Guid Application, string What)>[] applications =
            [.. _dropped.GroupBy(one => one.Application).OrderByDescending(group => group.Count())];
        string named = string.Join(
            ", ", applications.Take(MostNamed).Select(application => $"{application.Key} ({application.Count()})"));
        return applications.Length > MostNamed ? $"{named} and {applications.Length - MostNamed} others" : named;
    }

    private IEnumerable<CallSlot> Suspended => calls.Slots.All.ToArray().Where(IsSuspended);

    private bool IsSuspended(CallSlot slot) =>
        slot.State == CallState.Suspended && slot.DriverInstance == _driverInstance;

    private static bool IsAtBackend(CallSlot slot) => slot.Operation.IsAtBackend;

    private static Guid ApplicationOf(CallSlot slot) => (slot.Session ?? slot.OwnSession)?.Application ?? default;

    /// <summary>The backend's session, if there is one: not before it is opened, nor once its closing has
    /// begun.</summary>
    private ITeeSession? BackendOf(Session session)
    {
        foreach (CallSlot slot in Suspended)
        {
            if (slot.OwnSession == session)
            {
                return slot.Operation switch
                {
                    { Kind: TeeOperation.OpenSession, Phase: OperationPhase.Ended, Result.IsSuccess: true } =>
                        slot.Request.Session,
                    { Kind: TeeOperation.OpenSession } or { IsAtBackend: true } or { Phase: OperationPhase.Ended } =>
                        null,
                    _ => session.Backend,
                };
            }
        }

        return session.Backend;
    }

    private bool IsOwn(ITeeSession backend) => backend == enumeration || backend is DeadSession;

    private void Place(Session session, ITeeSession backend, ISavableTeePartition? savable)
    {
        if (savable is not null && savable.CanSave(backend))
        {
            _places.Add(session, _saved.Count);
            _saved.Add(backend);
        }
        else
        {
            _dropped.Add((session.Application, $"a session with application {session.Application} is open"));
        }
    }

    private void WriteTables()
    {
        _driverInstance.RpcBuffers.Save(_writer);
        _driverInstance.Sessions.SaveIds(_writer);
        _writer.WriteCount(_driverInstance.Sessions.Count);
        foreach (Session session in _driverInstance.Sessions.All)
        {
            _writer.WriteUInt32(session.Id);
            _writer.WriteUuid(session.Application);
            _writer.WriteBoolean(session.IsOpen);
            WriteBackend(session);
        }

        _writer.WriteCount(_driverInstance.Memory.Count);
        foreach (SharedBuffer buffer in _driverInstance.Memory.All)
        {
            buffer.Save(_writer);
            _writer.WriteBoolean(buffer.IsUsable);
            _writer.WriteBoolean(IsRegistered(buffer));
        }
    }

    private void WriteBackend(Session session)
    {
        if (_places.TryGetValue(session, out int place))
        {
            _writer.WriteByte((byte)SavedSessionKind.Saved);
            _writer.WriteCount(place);
            return;
        }

        ITeeSession? backend = BackendOf(session);
        _writer.WriteByte((byte)(backend is null ? SavedSessionKind.None
            : backend == enumeration ? SavedSessionKind.Enumeration : SavedSessionKind.Dead));
    }

    /// <summary>Whether the backend of the restored VM must know the buffer before its first call.</summary>
    private bool IsRegistered(SharedBuffer buffer)
    {
        if (buffer.IsUsable)
        {
            return true;
        }

        foreach (CallSlot slot in Suspended)
        {
            if (slot.Buffer == buffer)
            {
                return slot.Operation.Kind == TeeOperation.RegisterMemory
                    ? slot.Operation is { Phase: OperationPhase.Ended, Result.IsSuccess: true }
                    : !IsAtBackend(slot) && slot.Operation.Phase != OperationPhase.Ended;
            }
        }

        return false;
    }

    private void WriteCall(CallSlot slot)
    {
        _writer.WriteByte((byte)slot.Stage);
        _writer.WriteBoolean(slot.CannotSleep);
        _writer.WriteBoolean(slot.Sleep.IsActive);
        _writer.WriteUInt64(slot.MessageAddress.Value);
        _writer.WriteCount(slot.RpcOffset);
        _writer.WriteCount(slot.FirstParameter);
        _writer.WriteRaw(slot.Message.Bytes);
        _writer.WriteBoolean(slot.RpcBuffer is not null);
        slot.RpcBuffer?.Save(_writer);
        WriteOperation(slot);
        TeeRequest request = slot.Request;
        _writer.WriteUuid(request.Application);
        _writer.WriteUInt32((uint)request.Client.Login);
        _writer.WriteUuid(request.Client.Uuid);
        _writer.WriteUInt32(request.CommandId);
        _writer.WriteBoolean(request.IsCancellationRequested);
        _writer.WriteUInt32(slot.Session?.Id ?? 0);
        _writer.WriteUInt32(slot.OwnSession?.Id ?? 0);
        _writer.WriteBoolean(slot.Buffer is not null);
        _writer.WriteUInt64(slot.Buffer?.Cookie ?? 0);
        WriteParameters(request.Parameters);
        _writer.WriteUInt32(slot.Rpc.Command);
        _writer.WriteCount(slot.Rpc.Count);
        foreach (ref readonly TeeParameter parameter in slot.Rpc.Parameters[..slot.Rpc.Count])
        {
            WriteWords(parameter);
        }

        _writer.WriteCount(slot.Rpc.Allocated.Count);
        foreach (SharedBuffer allocated in slot.Rpc.Allocated)
        {
            allocated.Save(_writer);
        }
    }

    private void WriteOperation(CallSlot slot)
    {
        CallOperation operation = slot.Operation;
        OperationPhase phase = operation.Phase;
        TeeResult result = operation.Result;
        if (IsAtBackend(slot))
        {
            // A registration begins again, at the TEE that the VM has then. What takes away has nothing left to do.
            phase = operation.Kind == TeeOperation.RegisterMemory ? OperationPhase.Held : OperationPhase.Ended;
            result = TeeResult.FromTee(operation.Kind is TeeOperation.InvokeCommand or TeeOperation.OpenSession
                ? TeeReturnCode.TargetDead : TeeReturnCode.Success);
        }

        _writer.WriteByte((byte)operation.Kind);
        _writer.WriteByte((byte)phase);
        _writer.WriteUInt32((uint)result.Code);
        _writer.WriteUInt32((uint)result.Origin);
    }

    private void WriteParameters(ReadOnlySpan<TeeParameter> parameters)
    {
        foreach (ref readonly TeeParameter parameter in parameters)
        {
            WriteWords(parameter);
            SharedBuffer? buffer = parameter.Memory as SharedBuffer;
            _writer.WriteBoolean(buffer is not null);
            if (buffer is null)
            {
                continue;
            }

            _writer.WriteBoolean(buffer.IsTemporary);
            if (buffer.IsTemporary)
            {
                buffer.Save(_writer);
            }
            else
            {
                _writer.WriteUInt64(buffer.Cookie);
            }
        }
    }

    private void WriteWords(in TeeParameter parameter)
    {
        _writer.WriteByte((byte)parameter.Kind);
        _writer.WriteUInt64(parameter.IsMemory ? parameter.Offset : parameter.A);
        _writer.WriteUInt64(parameter.B);
        _writer.WriteUInt64(parameter.IsMemory ? parameter.Capacity : parameter.C);
    }
}
