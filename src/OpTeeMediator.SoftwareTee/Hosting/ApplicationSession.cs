using OpTeeMediator.Backends;

namespace OpTeeMediator.Software.Hosting;

/// <summary>A session with an instance of a trusted application.</summary>
/// <remarks>Thread-safe: entry points go through the gate, one at a time.</remarks>
internal sealed class ApplicationSession : ITeeSession
{
    private readonly ApplicationHost _host;
    private readonly ApplicationInstance _instance;
    private readonly ApplicationCall _call;
    private readonly Gate _gate;

    public ApplicationSession(ApplicationHost host, ApplicationInstance instance, ClientIdentity client, SoftwarePartition partition)
    {
        _host = host;
        _instance = instance;
        Execution = host.Manifest.Execution;
        _call = new ApplicationCall(client, Execution, partition);
        _gate = host.Manifest.Concurrent ? new Gate(partition.Queue) : instance.Gate;
    }

    /// <inheritdoc/>
    public TeeExecution Execution { get; }

    /// <summary>Runs the application's entry point for opening. The caller has entered the instance's gate, which this leaves.</summary>
    /// <param name="request">The operation.</param>
    /// <returns>The result.</returns>
    public async ValueTask<TeeResult> OpenAsync(TeeRequest request)
    {
        if (_gate != _instance.Gate)
        {
            _instance.Gate.Exit();
            _ = _gate.TryTake();
        }

        TeeResult result = default;
        try
        {
            if (TryBegin(request, out result))
            {
                result = await FinishAsync(Start(TeeOperation.OpenSession), nameof(TrustedApplication.OpenSession));
            }
        }
        finally
        {
            if (result.IsSuccess)
            {
                request.Session = this;
                _gate.Exit();
            }
            else
            {
                LeaveInstance();
            }
        }

        return result;
    }

    /// <inheritdoc/>
    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        if (!_gate.TryEnter(Execution, request, out TeeReturnCode refusal))
        {
            return new(TeeResult.FromTee(refusal));
        }

        if (!TryBegin(request, out TeeResult result))
        {
            _gate.Exit();
            return new(result);
        }

        ValueTask<TeeReturnCode> entry = Start(TeeOperation.InvokeCommand);
        if (!entry.IsCompletedSuccessfully || _call.HasOpenFiles)
        {
            return FinishCommandAsync(entry);
        }

        result = new TeeResult(entry.Result, TeeOrigin.TrustedApplication);
        _call.End();
        _gate.Exit();
        return new(result);
    }

    /// <inheritdoc/>
    public async ValueTask CloseAsync(TeeRequest request)
    {
        _gate.Enter();
        try
        {
            if (TryBegin(request, out _))
            {
                _ = await FinishAsync(Start(TeeOperation.CloseSession), nameof(TrustedApplication.CloseSession));
            }
        }
        finally
        {
            LeaveInstance();
        }
    }

    private bool TryBegin(TeeRequest request, out TeeResult refusal)
    {
        refusal = TeeResult.FromTee(_instance.IsDead ? TeeReturnCode.TargetDead : TeeReturnCode.OutOfMemory);
        return !_instance.IsDead && _call.TryBegin(request);
    }

    /// <summary>Calls an entry point. Whatever it throws is in the task.</summary>
    private ValueTask<TeeReturnCode> Start(TeeOperation operation)
    {
        try
        {
            ValueTask<TeeReturnCode> entry = operation switch
            {
                TeeOperation.OpenSession => _instance.Application.OpenSessionAsync(_call),
                TeeOperation.InvokeCommand => _instance.Application.InvokeCommandAsync(_call),
                _ => CloseEntryPointAsync(),
            };
            return entry.IsCompleted || Execution == TeeExecution.Worker
                ? entry
                : throw new InvalidOperationException($"An inline application must be complete when its entry point returns; declare {nameof(TrustedApplicationManifest.Execution)} = {nameof(TeeExecution.Worker)}.");
        }
        catch (Exception exception)
        {
            return ValueTask.FromException<TeeReturnCode>(exception);
        }
    }

    private async ValueTask<TeeReturnCode> CloseEntryPointAsync()
    {
        await _instance.Application.CloseSessionAsync(_call);
        return TeeReturnCode.Success;
    }

    private async ValueTask<TeeResult> FinishCommandAsync(ValueTask<TeeReturnCode> entry)
    {
        try
        {
            return await FinishAsync(entry, nameof(TrustedApplication.InvokeCommand));
        }
        finally
        {
            _gate.Exit();
        }
    }

    private async ValueTask<TeeResult> FinishAsync(ValueTask<TeeReturnCode> entry, string entryPoint)
    {
        try
        {
            return new TeeResult(await EndAsync(entry), TeeOrigin.TrustedApplication);
        }
        catch (OperationCanceledException) when (_call.IsCancellationRequested)
        {
            return new TeeResult(TeeReturnCode.Cancel, TeeOrigin.TrustedApplication);
        }
        catch (Exception exception)
        {
            // An application's fault must not be the host's: it is a panic.
            _host.Panic(_instance, exception, entryPoint);
            return TeeResult.FromTee(TeeReturnCode.TargetDead);
        }
        finally
        {
            _call.End();
        }
    }

    /// <summary>The end of an entry point: what it has left open in the guest is closed, also if it panics.</summary>
    private async ValueTask<TeeReturnCode> EndAsync(ValueTask<TeeReturnCode> entry)
    {
        try
        {
            return await entry;
        }
        finally
        {
            _call.CloseFiles();
        }
    }

    private void LeaveInstance()
    {
        if (_gate != _instance.Gate)
        {
            _gate.Exit();
            _instance.Gate.Enter();
        }

        _host.Release(_instance);
        _instance.Gate.Exit();
    }
}
