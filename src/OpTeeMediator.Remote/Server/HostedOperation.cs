using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>One operation at a time of one VM: decoded, performed by the TEE, and answered.</summary>
/// <remarks>
/// The connection's thread begins operations, cancels them and brings the guest's answers; the operation's own thread,
/// or whichever the TEE continues on, ends them.
/// </remarks>
internal sealed class HostedOperation
{
    private readonly HostedEnvironment _environment;
    private readonly OnDemandThread _worker;
    private readonly HostedGuest _guest;
    private readonly TeeRequest _request;
    private readonly FrameBuilder _answer = new();
    private readonly Action _onCompleted;
    private readonly HostedMemory[] _temporary;
    private TemporaryUses _uses;
    private ValueTaskAwaiter<TeeResult> _awaiter;
    private FrameType _type;
    private uint _id;
    private uint _bufferNumber;
    private HostedMemory? _buffer;
    private HostedSession? _session;
    private HostedStateTransfer? _transfer;
    private TeeExecution _execution;
    private bool _isReserved;
    private int _isRunning;
    private int _isAwaited;

    /// <summary>Prepares an operation and its thread.</summary>
    public HostedOperation(HostedEnvironment environment, int index)
    {
        _environment = environment;
        _guest = new HostedGuest(environment.Channel, environment.Files);
        _request = new TeeRequest { Guest = _guest };
        _onCompleted = CompleteFromAwaiter;
        _temporary = [.. Enumerable.Range(0, TeeRequest.ParameterCount).Select(_ => new HostedMemory(true))];
        _worker = new OnDemandThread(
            Perform, $"tee {environment.VirtualMachine.Name}/{index}", OnDemandThread.DefaultIdleTime);
        _guest.Worker = _worker;
    }

    /// <summary>Whether an operation has begun and not ended.</summary>
    public bool IsRunning => Volatile.Read(ref _isRunning) != 0;

    /// <summary>Whether it saves or restores the VM's sessions.</summary>
    public bool IsTransferring => IsRunning && IsTransfer;

    /// <summary>Whether it does nothing, or waits for the client.</summary>
    public bool IsQuiet => !IsRunning || (!IsTransfer && _guest.IsQuiet);

    /// <summary>Whether the last state that was asked for was handed over whole.</summary>
    public bool HasSaved => _transfer is { HasSaved: true };

    private bool IsTransfer => _type is FrameType.CanSave or FrameType.Save or FrameType.Restore;

    /// <summary>Begins an operation.</summary>
    /// <exception cref="ProtocolException">The message is malformed, or the last operation has not ended.</exception>
    public void Begin(in FrameHeader header, FrameReader body)
    {
        if (IsRunning)
        {
            throw new ProtocolException($"operation {header.Operation:x}, which runs already");
        }

        _id = header.Operation;
        _type = header.Type;
        Decode(ref body);
        bool isOnWorker = _execution == TeeExecution.Worker;
        if (isOnWorker)
        {
            _worker.Reserve();
        }

        _guest.Begin(_id, isOnWorker);
        Volatile.Write(ref _isRunning, 1);
        if (isOnWorker)
        {
            _worker.Post();
        }
        else
        {
            Perform();
        }
    }

    /// <summary>Takes the client's answer to a call to the guest.</summary>
    /// <exception cref="ProtocolException">The operation has not asked.</exception>
    public void TakeAnswer(uint operation, FrameReader body) => _guest.TakeAnswer(operation, body);

    /// <summary>Cancels the operation, unless it has ended and another one may have begun.</summary>
    public void Cancel(uint operation, uint flags)
    {
        if (IsRunning && operation == _id)
        {
            Cancel(flags);
        }
    }

    /// <summary>The client is gone: the operation is to end, and its guest answers no more.</summary>
    public void LoseClient()
    {
        _guest.LoseClient();
        if (IsRunning)
        {
            Cancel(FrameFormat.TerminateFlag);
        }
    }

    /// <summary>Closes a session that the client has left; blocks.</summary>
    public async ValueTask CloseAsync(ITeeSession session)
    {
        _request.ResetCancellation();
        _ = _request.RequestTermination();
        _request.Operation = TeeOperation.CloseSession;
        _request.Session = null;
        _request.WritableParameters.Clear();
        await session.CloseAsync(_request);
    }

    /// <summary>Ends the thread, once its operation is done.</summary>
    public void Stop() => _worker.Stop();

    private void Cancel(uint flags)
    {
        bool isNew = (flags & FrameFormat.TerminateFlag) != 0
            ? _request.RequestTermination()
            : _request.RequestCancellation();
        if (isNew && _type is FrameType.OpenSession or FrameType.InvokeCommand or FrameType.CloseSession)
        {
            try
            {
                _environment.Partition.Cancel(_request);
            }
            catch (Exception exception)
            {
                _ = _environment.Failures.Report(FrameType.Cancel, exception);
            }
        }
    }

    // What is taken out of a table is taken last: a malformed message changes nothing that is to be closed.
    private void Decode(ref FrameReader body)
    {
        _request.ResetCancellation();
        _request.Session = null;
        switch (_type)
        {
            case FrameType.OpenSession:
                DecodeFlags(ref body, TeeOperation.OpenSession);
                DecodeOpening(ref body);
                break;

            case FrameType.InvokeCommand:
                DecodeFlags(ref body, TeeOperation.InvokeCommand);
                HostedSession session = _environment.Sessions.Find(body.ReadUInt32());
                _request.CommandId = body.ReadUInt32();
                DecodeParameters(ref body);
                _session = session;
                session.AddUse();
                _execution = session.Execution;
                break;

            case FrameType.CloseSession:
                DecodeFlags(ref body, TeeOperation.CloseSession);
                _request.WritableParameters.Clear();
                uint closed = body.ReadUInt32();
                body.End();
                _session = _environment.Sessions.Take(closed);
                _execution = _session.Execution;
                break;

            case FrameType.RegisterMemory:
                _bufferNumber = body.ReadUInt32();
                _buffer = _environment.Buffers.Rent();
                _buffer.Describe(ref body, _environment.Files, _environment.Buffers.FreePieces);
                body.End();
                _environment.Buffers.Reserve(_bufferNumber, _buffer);
                _execution = _environment.Execution.Memory;
                break;

            case FrameType.UnregisterMemory:
                _bufferNumber = body.ReadUInt32();
                body.End();
                _buffer = _environment.Buffers.Take(_bufferNumber);
                _execution = _environment.Execution.Memory;
                break;

            case FrameType.CanSave or FrameType.Save or FrameType.Restore:
                _transfer ??= new HostedStateTransfer(_environment, _guest);
                _transfer.Decode(_type, body);
                _execution = TeeExecution.Worker;
                break;

            default:
                body.End();
                _execution = TeeExecution.Worker;
                break;
        }
    }

    private void DecodeFlags(ref FrameReader body, TeeOperation operation)
    {
        _request.Operation = operation;
        uint flags = body.ReadUInt32();
        if ((flags & FrameFormat.TerminateFlag) != 0)
        {
            _ = _request.RequestTermination();
        }
        else if ((flags & FrameFormat.CancelFlag) != 0)
        {
            _ = _request.RequestCancellation();
        }
    }

    private void DecodeOpening(ref FrameReader body)
    {
        TeeLogin login = (TeeLogin)body.ReadUInt32();
        _request.Application = body.ReadGuid();
        if (!ClientIdentity.TryClaim(login, body.ReadGuid(), out ClientIdentity client))
        {
            throw new ProtocolException($"login 0x{(uint)login:x}, which no guest has");
        }

        _request.Client = client;
        DecodeParameters(ref body);
        try
        {
            _execution = _environment.Execution.OfApplication(_request.Application);
        }
        catch (Exception exception)
        {
            // Refused when it is performed.
            _ = _environment.Failures.Report(_type, exception);
            _execution = TeeExecution.Worker;
        }
    }

    private void DecodeParameters(ref FrameReader body)
    {
        int temporary = 0;
        Span<ParameterFrame> read = stackalloc ParameterFrame[TeeRequest.ParameterCount];
        foreach (ref ParameterFrame parameter in read)
        {
            parameter = ParameterCodec.Read(ref body);
        }

        for (int index = 0; index < read.Length; index++)
        {
            HostedMemory? memory = null;
            if (read[index].HasMemory)
            {
                if (read[index].Memory == FrameFormat.TemporaryMemory)
                {
                    memory = _temporary[temporary++];
                    memory.Describe(ref body, _environment.Files, _environment.Limits.Ranges);
                }
                else
                {
                    memory = _environment.Buffers.Find(read[index].Memory);
                }
            }

            ParameterCodec.Set(ref _request.WritableParameters[index], read[index], memory);
            _uses[index] = memory;
        }

        body.End();

        // Counted last: nothing is malformed from here on, so each is ended.
        for (int index = 0; index < read.Length; index++)
        {
            _uses[index]?.AddUse();
        }
    }

    /// <summary>Performs the operation. What the TEE throws becomes a result and a log entry.</summary>
    private void Perform()
    {
        TeeResult result;
        try
        {
            ValueTask<TeeResult> operation = Start();
            if (!operation.IsCompletedSuccessfully)
            {
                Await(operation);
                return;
            }

            result = operation.Result;
        }
        catch (Exception exception)
        {
            result = _environment.Failures.Report(_type, exception);
        }

        Complete(result);
    }

    private ValueTask<TeeResult> Start() => _type switch
    {
        FrameType.InvokeCommand => _session!.Session.InvokeCommandAsync(_request),
        FrameType.OpenSession => Open(),
        FrameType.CloseSession => ToResult(_session!.Session.CloseAsync(_request)),
        FrameType.RegisterMemory => ToResult(_environment.Partition.RegisterMemoryAsync(_buffer!)),
        FrameType.UnregisterMemory => ToResult(_environment.Partition.UnregisterMemoryAsync(_buffer!)),
        FrameType.CanSave or FrameType.Save or FrameType.Restore => _transfer!.PerformAsync(_type),
        _ => ToResult(_environment.Partition.ResetAsync()),
    };

    private ValueTask<TeeResult> Open()
    {
        if (!_environment.VirtualMachine.Access.Allows(_request.Application))
        {
            return new(TeeResult.FromTee(TeeReturnCode.ItemNotFound));
        }

        _isReserved = _environment.Sessions.TryReserve();
        return _isReserved
            ? _environment.Partition.OpenSessionAsync(_request)
            : new(TeeResult.FromTee(TeeReturnCode.OutOfMemory));
    }

    private void Await(ValueTask<TeeResult> operation)
    {
        _awaiter = operation.GetAwaiter();
        Volatile.Write(ref _isAwaited, 1);
        try
        {
            _awaiter.UnsafeOnCompleted(_onCompleted);
        }
        catch (Exception) when (Interlocked.Exchange(ref _isAwaited, 0) == 0)
        {
            // The TEE's own awaitable has both thrown and completed: the completion counts.
        }
    }

    private void CompleteFromAwaiter()
    {
        if (Interlocked.Exchange(ref _isAwaited, 0) == 0)
        {
            return;
        }

        TeeResult result;
        try
        {
            result = _awaiter.GetResult();
        }
        catch (Exception exception)
        {
            result = _environment.Failures.Report(_type, exception);
        }

        Complete(result);
    }

    private void Complete(TeeResult result)
    {
        uint session = Finish(ref result);
        if (!IsTransfer || !_transfer!.TryWriteEnd(_answer, _type, _id))
        {
            WriteResult(result, session);
        }

        _guest.End();

        // Before the answer: the client may begin the next one when it has it.
        Volatile.Write(ref _isRunning, 0);
        _ = _environment.Channel.TrySend(_answer.Frame);
    }

    private void WriteResult(in TeeResult result, uint session)
    {
        _answer.Begin(FrameType.Result, _environment.Channel.Partition, _id);
        _answer.Write((uint)result.Code);
        _answer.Write((uint)result.Origin);
        _answer.Write(session);
        _answer.Write(0u);
        foreach (ref readonly TeeParameter parameter in _request.Parameters)
        {
            _answer.Write(parameter.IsMemory ? 0 : parameter.A);
            _answer.Write(parameter.IsMemory ? parameter.Size : parameter.B);
        }
    }

    /// <summary>Frees what the operation used, and keeps what it has made.</summary>
    /// <returns>The number of the session that was opened, or 0.</returns>
    private uint Finish(ref TeeResult result)
    {
        uint number = 0;
        switch (_type)
        {
            case FrameType.OpenSession:
                ReleaseParameters();
                number = FinishOpening(ref result);
                break;

            case FrameType.InvokeCommand:
                ReleaseParameters();
                _session!.RemoveUse();
                break;

            case FrameType.CloseSession:
                _environment.Sessions.Free(_session!);
                break;

            case FrameType.RegisterMemory when result.IsSuccess:
                _environment.Buffers.Commit(_bufferNumber, _buffer!);
                break;

            case FrameType.RegisterMemory or FrameType.UnregisterMemory:
                _environment.Buffers.Free(_bufferNumber, _buffer!);
                break;
        }

        _session = null;
        _buffer = null;
        return number;
    }

    private uint FinishOpening(ref TeeResult result)
    {
        if (result.IsSuccess && _request.Session is { } opened)
        {
            _isReserved = false;
            return _environment.Sessions.Add(opened, _request.Application, _execution).Number;
        }

        if (_isReserved)
        {
            _isReserved = false;
            _environment.Sessions.CancelReservation();
        }

        if (result.IsSuccess)
        {
            result = _environment.Failures.Report(
                _type, new InvalidOperationException("The TEE has opened a session and returned none."));
        }

        return 0;
    }

    private void ReleaseParameters()
    {
        for (int index = 0; index < TeeRequest.ParameterCount; index++)
        {
            _uses[index]?.RemoveUse();
            _uses[index] = null;
        }
    }

    private static ValueTask<TeeResult> ToResult(ValueTask<TeeReturnCode> operation) =>
        operation.IsCompletedSuccessfully ? new(TeeResult.FromTee(operation.Result)) : AwaitAsync(operation);

    private static ValueTask<TeeResult> ToResult(ValueTask operation)
    {
        if (operation.IsCompletedSuccessfully)
        {
            operation.GetAwaiter().GetResult();
            return new(TeeResult.FromTee(TeeReturnCode.Success));
        }

        return AwaitAsync(operation);
    }

    private static async ValueTask<TeeResult> AwaitAsync(ValueTask<TeeReturnCode> operation) =>
        TeeResult.FromTee(await operation);

    private static async ValueTask<TeeResult> AwaitAsync(ValueTask operation)
    {
        await operation;
        return TeeResult.FromTee(TeeReturnCode.Success);
    }

    [InlineArray(TeeRequest.ParameterCount)]
    private struct TemporaryUses
    {
        private HostedMemory? _element0;
    }
}
