using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>Changes sessions and shared memory for calls: enters before an operation, and commits after it.</summary>
internal sealed class SessionAndBufferOperations
{
    private readonly BackendOperations _operations;
    private readonly TeeAccess _access;
    private readonly SharedBufferPool _buffers;
    private readonly ILogger _log;

    public SessionAndBufferOperations(CallEnvironment environment, BackendOperations operations)
    {
        _operations = operations;
        _access = environment.Access;
        _buffers = environment.Buffers;
        _log = environment.Log;
        if (environment.Partition.Devices is { } devices)
        {
            Enumeration = new DeviceEnumeration(devices.Where(device => _access.Allows(device.Uuid)));
        }
    }

    /// <summary>The session of the device enumeration, if the TEE has one.</summary>
    public DeviceEnumeration? Enumeration { get; }

    /// <summary>OPEN_SESSION: may the guest, and is there a place? The enumeration's session is set at once.</summary>
    public Refusal? BeginOpen(CallSlot slot, DriverInstance driverInstance)
    {
        Guid application = slot.Request.Application;
        bool isEnumeration = application == DeviceEnumeration.Uuid;
        if (isEnumeration ? Enumeration is null : !_access.Allows(application))
        {
            _log.ApplicationRefused(application);
            return Refusal.ApplicationNotAllowed;
        }

        Refusal? refusal = slot.NeedsTemporaryBuffers ? AttachTemporaryBuffers(slot) : null;
        if (refusal is not null)
        {
            return refusal;
        }

        using (driverInstance.TablesLock.Enter())
        {
            slot.OwnSession = driverInstance.Sessions.TryAdd(application);
        }

        if (slot.OwnSession is not { } session)
        {
            return Refusal.BeyondLimits;
        }

        if (isEnumeration)
        {
            slot.Request.Session = Enumeration;
            session.Execution = TeeExecution.Inline;
        }

        return null;
    }

    /// <summary>CLOSE_SESSION: the session takes no new commands.</summary>
    public static Refusal? BeginClose(CallSlot slot, DriverInstance driverInstance)
    {
        if (slot.Message.Header.ParameterCount != 0)
        {
            return Refusal.HasParameters;
        }

        using (driverInstance.TablesLock.Enter())
        {
            if (driverInstance.Sessions.Find(slot.Message.Header.Session) is not { IsOpen: true } session)
            {
                return Refusal.UnknownSession;
            }

            session.IsOpen = false;
            slot.OwnSession = session;
        }

        slot.Operation.Drain();
        return null;
    }

    /// <summary>REGISTER_SHM: the buffer is checked, pinned and entered, but not usable yet.</summary>
    public Refusal? BeginRegister(CallSlot slot, DriverInstance driverInstance)
    {
        ref readonly MessageParameter parameter = ref slot.Message.Parameters[0];
        if (slot.Message.Header.ParameterCount != 1)
        {
            return Refusal.NotOneParameter;
        }

        if (parameter.Attributes != Message.PageListAttributes)
        {
            return Refusal.NotAPageList;
        }

        TeeReturnCode code = _buffers.TryCreateFromPageList(parameter.A, parameter.B, parameter.C,
            isTemporary: false, out SharedBuffer? buffer);
        if (code != TeeReturnCode.Success)
        {
            return RefuseSharing(parameter, Refusal.OfMemory(code));
        }

        bool isAdded;
        using (driverInstance.TablesLock.Enter())
        {
            isAdded = driverInstance.Memory.TryAdd(buffer!);
        }

        if (!isAdded)
        {
            _buffers.Return(buffer!);
            return RefuseSharing(parameter, Refusal.CookieTaken);
        }

        slot.Buffer = buffer;
        return null;
    }

    /// <summary>UNREGISTER_SHM: the buffer takes no new uses.</summary>
    public static Refusal? BeginUnregister(CallSlot slot, DriverInstance driverInstance)
    {
        if (slot.Message.Header.ParameterCount != 1)
        {
            return Refusal.NotOneParameter;
        }

        using (driverInstance.TablesLock.Enter())
        {
            if (driverInstance.Memory.Find(slot.Message.Parameters[0].C) is not { IsUsable: true } buffer)
            {
                return Refusal.UnknownCookie;
            }

            buffer.IsUsable = false;
            slot.Buffer = buffer;
        }

        slot.Operation.Drain();
        return null;
    }

    /// <summary>Makes buffers of the memory that the message itself names.</summary>
    public Refusal? AttachTemporaryBuffers(CallSlot slot)
    {
        Span<TeeParameter> parameters = slot.Request.WritableParameters;
        int count = (int)slot.Message.Header.ParameterCount - slot.FirstParameter;
        for (int index = 0; index < count; index++)
        {
            ref readonly MessageParameter source = ref slot.Message.Parameters[slot.FirstParameter + index];
            if (source.Type < OpTeeMessage.TypeTemporaryInput || source.A == 0)
            {
                continue;
            }

            SharedBuffer? buffer;
            TeeReturnCode code = (source.Attributes & OpTeeMessage.AttributeNonContiguous) != 0
                ? _buffers.TryCreateFromPageList(source.A, source.B, source.C, isTemporary: true, out buffer)
                : _buffers.TryCreateContiguous(source.A, source.B, source.C, out buffer);
            if (code != TeeReturnCode.Success)
            {
                return RefuseSharing(source, Refusal.OfMemory(code));
            }

            slot.Buffers.Attach(index, buffer!);
            parameters[index].SetMemory(parameters[index].Kind, buffer, 0, source.B);
        }

        return null;
    }

    /// <summary>Enters into the tables what an operation has changed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TeeResult Commit(CallSlot slot, TeeResult result)
    {
        if (slot.Operation.Kind != TeeOperation.InvokeCommand)
        {
            result = CommitOther(slot, result);
        }

        if (slot.Buffers.HasTemporary)
        {
            ReturnTemporaryBuffers(slot);
        }

        return result;
    }

    private Refusal RefuseSharing(in MessageParameter parameter, Refusal refusal)
    {
        _log.SharingRefused(parameter.C, parameter.B, refusal.Code, refusal.Reason);
        return refusal;
    }

    private TeeResult CommitOther(CallSlot slot, TeeResult result)
    {
        DriverInstance driverInstance = slot.DriverInstance!;
        if (slot.Operation.Kind == TeeOperation.RegisterMemory && result.IsSuccess)
        {
            slot.Buffer!.IsKnownToTee = true;
            slot.Buffer.IsUsable = true;
            return result;
        }

        bool returnsBuffer = false;
        using (driverInstance.TablesLock.Enter())
        {
            switch (slot.Operation.Kind)
            {
                case TeeOperation.OpenSession:
                    if (result.IsSuccess && slot.Request.Session is null)
                    {
                        result = _operations.BackendFailed(TeeOperation.OpenSession,
                            new InvalidOperationException("The backend reported success but set no session."));
                    }

                    slot.OwnSession!.Backend = slot.Request.Session;
                    slot.OwnSession.IsOpen = result.IsSuccess;
                    if (!result.IsSuccess)
                    {
                        driverInstance.Sessions.Remove(slot.OwnSession);
                    }

                    break;

                case TeeOperation.CloseSession:
                    driverInstance.Sessions.Remove(slot.OwnSession!);
                    break;

                default:
                    // Registration refused, or ended.
                    _ = driverInstance.Memory.Remove(slot.Buffer!.Cookie);
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

    /// <summary>Takes out of the tables what a call had entered that never began.</summary>
    public void Discard(CallSlot slot)
    {
        if (slot.Operation.Kind is TeeOperation.OpenSession or TeeOperation.RegisterMemory)
        {
            _ = CommitOther(slot, TeeResult.CommunicationFailure);
        }

        ReturnTemporaryBuffers(slot);
    }

    public void ReturnTemporaryBuffers(CallSlot slot)
    {
        while (slot.Buffers.DetachAny() is { } buffer)
        {
            _buffers.Return(buffer);
        }
    }
}
