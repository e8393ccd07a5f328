using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>A session with an instance of a trusted application.</summary>
/// <remarks>
/// Thread-safe: entry points go through the lock, one at a time. Each runs on the thread of its operation from
/// begin to end: on the slot's prepared thread, which waits for what the application awaits
/// (<see cref="OperationContext"/>), or, inline, on the vCPU's.
/// </remarks>
internal sealed class ApplicationSession : ITeeSession
{
    private readonly ApplicationHost _host;
    private readonly ApplicationEnvironment _environment;
    private readonly ApplicationInstance _instance;
    private readonly OperationContext? _context;
    private readonly ApplicationCall _call;
    private readonly EntryLock _entryLock;

    public ApplicationSession(
        ApplicationHost host, ApplicationInstance instance, ClientIdentity client, ApplicationEnvironment environment)
    {
        _host = host;
        _instance = instance;
        _context = host.Manifest.Execution == TeeExecution.Worker ? new OperationContext() : null;
        _call =
            new ApplicationCall(
                client,
                new RunningOperation(
                    _context,
                    environment.Queue,
                    environment.Cancellations,
                    host.Manifest.Uuid,
                    environment.Directory),
                instance.Opened)
            {
                Storage = instance.Application.Storage,
            };
        _environment = environment;
        _entryLock = host.Manifest.Concurrent ? new EntryLock(environment.Queue) : instance.EntryLock;
    }

    public ApplicationHost Host => _host;

    public ApplicationInstance Instance => _instance;

    public ClientIdentity Client => _call.Client;

    /// <summary>What the application keeps for the session.</summary>
    public object? Context => _call.SessionContext;

    /// <summary>Becomes a session of an earlier process.</summary>
    public void Restore(object? context)
    {
        _call.SessionContext = context;
        _instance.Add(this);
    }

    /// <summary>Runs the entry point for opening. The caller is inside the lock, which this leaves.</summary>
    public TeeResult Open(TeeRequest request, TeeRequest root)
    {
        _instance.Add(this);
        if (_entryLock != _instance.EntryLock)
        {
            _instance.EntryLock.Exit();
            _ = _entryLock.TryTake(root);
        }

        TeeResult result = Perform(TeeOperation.OpenSession, request, root);
        if (result.IsSuccess)
        {
            request.Session = this;
            _entryLock.Exit();
        }
        else
        {
            Leave(request, root);
        }

        return result;
    }

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) => new(_environment.Run(
        request,
        this,
        static (session, request) =>
        {
            TeeResult result = session.Invoke(request, request);
            session._environment.Deferred.Run(request);
            return result;
        }));

    public ValueTask CloseAsync(TeeRequest request) => _environment.Run(
        request,
        this,
        static (session, request) =>
        {
            session.Close(request, request);
            session._environment.Deferred.Run(request);
            return default(ValueTask);
        });

    /// <summary>Invokes a command for an operation of the guest.</summary>
    public TeeResult Invoke(TeeRequest request, TeeRequest root)
    {
        TeeReturnCode code = _entryLock.Enter(_host.Manifest.Execution, request, root);
        if (code != TeeReturnCode.Success)
        {
            return TeeResult.FromTee(code);
        }

        TeeResult result = Perform(TeeOperation.InvokeCommand, request, root);
        _entryLock.Exit();
        return result;
    }

    /// <summary>Closes the session for an operation of the guest, perhaps after that.</summary>
    public void Close(TeeRequest request, TeeRequest root)
    {
        if (!_entryLock.TryEnter(root, GuestThatWaits(request)))
        {
            GuestServices? guest = request.Guest;
            _environment.Deferred.Add(
                root, () => Close(new TeeRequest { Operation = TeeOperation.CloseSession, Guest = guest }, root));
            return;
        }

        if (!_environment.IsAbandoned)
        {
            _ = Perform(TeeOperation.CloseSession, request, root);
        }

        Leave(request, root);
    }

    /// <summary>Disposes of the session's context. No entry point of the session runs any more.</summary>
    public ValueTask ReleaseContextAsync()
    {
        object? context = _call.SessionContext;
        _call.SessionContext = null;
        return _host.DisposeHeldAsync(context);
    }

    /// <summary>Runs an entry point, with what belongs to it. The caller is inside the lock.</summary>
    private TeeResult Perform(TeeOperation operation, TeeRequest request, TeeRequest root)
    {
        TeeResult result = TeeResult.FromTee(TeeReturnCode.TargetDead);
        if (_instance.Enter())
        {
            result = _call.TryBegin(request, root)
                ? Run(operation, request)
                : TeeResult.FromTee(TeeReturnCode.OutOfMemory);
        }

        WaitFor(_instance.ExitAsync(root), request);
        return result;
    }

    private TeeResult Run(TeeOperation operation, TeeRequest request)
    {
        try
        {
            TeeReturnCode code = _context is null ? CallInline(operation) : CallOnWorker(_context, operation, request);
            return new TeeResult(code, TeeOrigin.TrustedApplication);
        }
        catch (OperationCanceledException) when (request.IsCancellationRequested)
        {
            return new TeeResult(TeeReturnCode.Cancel, TeeOrigin.TrustedApplication);
        }
        catch (Exception exception)
        {
            // An application's fault must not be the host's: it is a panic.
            _host.Panic(_instance, exception, operation.ToString());
            return TeeResult.FromTee(TeeReturnCode.TargetDead);
        }
        finally
        {
            _call.End();
        }
    }

    private TeeReturnCode CallInline(TeeOperation operation)
    {
        ValueTask<TeeReturnCode> entry = Call(operation);
        if (!entry.IsCompleted)
        {
            _instance.AddOverrun(entry.AsTask());
            throw new InvalidOperationException(
                "An inline application must be complete when its entry point returns; declare "
                + $"{nameof(TrustedApplicationManifest.Execution)} = {nameof(TeeExecution.Worker)}.");
        }

        return entry.GetAwaiter().GetResult();
    }

    private TeeReturnCode CallOnWorker(OperationContext context, TeeOperation operation, TeeRequest request)
    {
        SynchronizationContext? previous = context.Enter();
        try
        {
            ValueTask<TeeReturnCode> entry = Call(operation);
            return entry.IsCompleted ? entry.GetAwaiter().GetResult() : Await(context, entry.AsTask(), request);
        }
        finally
        {
            // What it has left open in the guest is closed, also if it panics, while the operation is still the current
            // one.
            try
            {
                _call.CloseFiles();
            }
            finally
            {
                context.Exit(previous);
            }
        }
    }

    private static TeeReturnCode Await(OperationContext context, Task<TeeReturnCode> entry, TeeRequest request)
    {
        context.RunUntilEnd(entry, request.Guest);
        return entry.GetAwaiter().GetResult();
    }

    private ValueTask<TeeReturnCode> Call(TeeOperation operation) => operation switch
    {
        TeeOperation.OpenSession => _instance.Application.OpenSessionAsync(_call),
        TeeOperation.InvokeCommand => _instance.Application.InvokeCommandAsync(_call),
        _ => CloseEntryPointAsync(),
    };

    private async ValueTask<TeeReturnCode> CloseEntryPointAsync()
    {
        await _instance.Application.CloseSessionAsync(_call);
        return TeeReturnCode.Success;
    }

    /// <summary>Ends the session, perhaps its instance. The caller is inside the lock, which this leaves.</summary>
    private void Leave(TeeRequest request, TeeRequest root)
    {
        // With a dead instance, what the session holds is disposed of when the instance's last entry point has
        // returned.
        if (!_instance.IsDead)
        {
            WaitFor(ReleaseContextAsync(), request);
        }

        if (_entryLock == _instance.EntryLock)
        {
            LeaveInstance(request, root);
        }
        else
        {
            _entryLock.Exit();
            EnterAndLeaveInstance(request, root);
        }
    }

    private void EnterAndLeaveInstance(TeeRequest request, TeeRequest root)
    {
        if (_instance.EntryLock.TryEnter(root, GuestThatWaits(request)))
        {
            LeaveInstance(request, root);
            return;
        }

        GuestServices? guest = request.Guest;
        _environment.Deferred.Add(root, () => EnterAndLeaveInstance(new TeeRequest { Guest = guest }, root));
    }

    private void LeaveInstance(TeeRequest request, TeeRequest root)
    {
        WaitFor(_host.ReleaseAsync(_instance, this, root), request);
        _instance.EntryLock.Exit();
    }

    /// <summary>
    /// Waits for the disposal of what the application held, which is asynchronous if the application's is. An inline
    /// application is not waited for.
    /// </summary>
    private void WaitFor(ValueTask disposal, TeeRequest request)
    {
        if (!disposal.IsCompletedSuccessfully)
        {
            // Nothing is thrown there.
            Task task = disposal.AsTask();
            _context?.RunUntilEnd(task, request.Guest);
        }
    }

    private GuestServices? GuestThatWaits(TeeRequest request) => _context is null ? null : request.Guest;
}
