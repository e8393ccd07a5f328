using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Operations;
using OpTeeMediator.State;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>One trusted application in one partition: makes its instances and ends them.</summary>
/// <remarks>
/// Of a single-instance application the successive instances share one lock, so that the end of one and the
/// beginning of the next never overlap. Thread-safe.
/// </remarks>
internal sealed class ApplicationHost
{
    private readonly ApplicationRegistration _registration;
    private readonly ApplicationEnvironment _environment;
    private readonly EntryLock _entryLock;
    private readonly PanicLog _panics = new(TimeProvider.System);
    private readonly PanicLog _failedDisposals = new(TimeProvider.System);
    private volatile ApplicationInstance? _single;

    public ApplicationHost(ApplicationRegistration registration, ApplicationEnvironment environment)
    {
        _registration = registration;
        _environment = environment;
        _entryLock = new EntryLock(environment.Queue);
    }

    /// <summary>What the application declares.</summary>
    public TrustedApplicationManifest Manifest => _registration.Manifest;

    /// <summary>Whether another session must be refused.</summary>
    private bool IsTaken => !Manifest.MultiSession && _single is { IsDead: false, Sessions: > 0 };

    /// <summary>Opens a session, with an instance of its own or the single one.</summary>
    /// <param name="request">The operation.</param>
    /// <param name="root">The guest's operation for which it is made, or itself.</param>
    public TeeResult OpenSession(TeeRequest request, TeeRequest root)
    {
        // Asked before waiting, too: a single-session application may be inside a long command.
        if (IsTaken)
        {
            return TeeResult.FromTee(TeeReturnCode.Busy);
        }

        EntryLock entryLock = Manifest.SingleInstance ? _entryLock : new EntryLock(_environment.Queue);
        TeeReturnCode code = entryLock.Enter(Manifest.Execution, request, root);
        if (code != TeeReturnCode.Success)
        {
            return TeeResult.FromTee(code);
        }

        if (!TryGetInstance(entryLock, out ApplicationInstance? instance, out TeeResult result))
        {
            entryLock.Exit();
            return result;
        }

        result = new ApplicationSession(this, instance, request.Client, _environment).Open(request, root);
        _environment.RunDeferred(request, root);
        return result;
    }

    /// <summary>The instance that is kept alive without a session, if there is one.</summary>
    public ApplicationInstance? Idle => _single is { IsDead: false, Sessions: 0 } idle ? idle : null;

    /// <summary>Makes an instance that goes on from a saved state, before the VM's first operation.</summary>
    /// <exception cref="OpTeeStateException">It cannot.</exception>
    public ApplicationInstance RestoreInstance(ReadOnlySpan<byte> state)
    {
        if (Manifest.SingleInstance && _single is not null)
        {
            throw StateReader.Malformed($"application {Manifest.Uuid} has two single instances");
        }

        EntryLock entryLock = Manifest.SingleInstance ? _entryLock : new EntryLock(_environment.Queue);
        TeeResult result = Create(entryLock, out ApplicationInstance? instance);
        if (instance is null)
        {
            throw _environment.StorageRefusal ?? new OpTeeStateException(
                $"Application {Manifest.Uuid} ({_registration.Type}) could not be made again: {result.Code}.");
        }

        if (Manifest.SingleInstance)
        {
            _single = instance;
        }

        try
        {
            if (instance.Application is not ISavableApplication savable)
            {
                throw new NotSupportedException($"it is no {nameof(ISavableApplication)} any more.");
            }

            savable.RestoreInstance(state);
            _environment.ThrowIfStorageWasUsed();
            return instance;
        }
        catch (Exception exception)
        {
            Abandon(instance);
            throw RestoreFailed(exception);
        }
    }

    /// <summary>Makes a session that goes on from a saved state.</summary>
    /// <exception cref="OpTeeStateException">It cannot.</exception>
    public ApplicationSession RestoreSession(
        ApplicationInstance instance, ClientIdentity client, ReadOnlySpan<byte> state)
    {
        ApplicationSession session = new(this, instance, client, _environment);
        try
        {
            session.Restore(((ISavableApplication)instance.Application).RestoreSession(client, state));
            return session;
        }
        catch (Exception exception)
        {
            throw RestoreFailed(exception);
        }
    }

    /// <summary>Ends an instance that was restored in vain, now or with its last session.</summary>
    public void Abandon(ApplicationInstance instance)
    {
        instance.EndsWithLastSession = true;
        if (instance.Sessions == 0)
        {
            TeeRequest root = new() { Guest = new NoGuest() };
            DestroyAsync(instance, root).AsTask().GetAwaiter().GetResult();
            _environment.Deferred.Run(root);
        }
    }

    /// <summary>Ends a session's use of its instance. The caller is inside the instance's lock.</summary>
    /// <param name="instance">The instance.</param>
    /// <param name="session">The session.</param>
    /// <param name="root">The guest's operation that is inside.</param>
    /// <returns>A task that ends when the instance is destroyed, if it is.</returns>
    public ValueTask ReleaseAsync(ApplicationInstance instance, ApplicationSession session, TeeRequest root)
    {
        instance.Remove(session);
        return instance.Sessions == 0 && (!Manifest.InstanceKeepAlive || instance.EndsWithLastSession)
            ? DestroyAsync(instance, root)
            : default;
    }

    /// <summary>The VM is reset: ends the instance that was kept alive, now or with its last session.</summary>
    public async ValueTask ResetAsync()
    {
        if (_single is not { } instance)
        {
            return;
        }

        instance.EndsWithLastSession = true;
        TeeRequest root = new() { Guest = new NoGuest() };
        SpinWait spin = default;
        while (instance.Sessions == 0)
        {
            // Without a session the lock is taken for a moment only.
            if (_entryLock.TryTake(root))
            {
                if (instance.Sessions == 0)
                {
                    await ResetAsync(instance, root);
                }

                _entryLock.Exit();
                _environment.Deferred.Run(root);
                return;
            }

            spin.SpinOnce();
        }
    }

    /// <summary>Ends the instance that was kept alive, with its VM. No session is open any more.</summary>
    public async ValueTask DestroyAsync()
    {
        if (_single is { } instance)
        {
            TeeRequest root = new() { Guest = new NoGuest() };
            await DestroyAsync(instance, root);
            _environment.Deferred.Run(root);
        }
    }

    /// <summary>Ends an instance whose entry point has failed.</summary>
    public void Panic(ApplicationInstance instance, Exception exception, string entryPoint)
    {
        if (instance.TryKill())
        {
            LogPanic(exception, entryPoint);
        }
    }

    /// <summary>Disposes of an application and of the objects and memory that it has left.</summary>
    /// <param name="application">The application.</param>
    /// <returns>A task that ends when that is done; nothing is thrown.</returns>
    public async ValueTask DisposeApplicationAsync(TrustedApplication application)
    {
        await DisposeHeldAsync(application).ConfigureAwait(false);
        application.ReleaseResources();
    }

    /// <summary>Disposes of something that the application held. Whatever that throws becomes a log entry.</summary>
    /// <returns>A task that ends when that is done; nothing is thrown.</returns>
    public async ValueTask DisposeHeldAsync(object? held)
    {
        try
        {
            if (held is IDisposable disposable)
            {
                disposable.Dispose();
            }
            else if (held is IAsyncDisposable asynchronous)
            {
                await asynchronous.DisposeAsync().ConfigureAwait(false);
            }
        }
        catch (Exception exception)
        {
            LogFailedDisposal(exception);
        }
    }

    // The caller is inside the lock, and no session is open.
    private async ValueTask ResetAsync(ApplicationInstance instance, TeeRequest root)
    {
        bool stays = false;
        try
        {
            stays = instance.Enter() && instance.Application.VirtualMachineReset();
        }
        catch (Exception exception)
        {
            Panic(instance, exception, nameof(TrustedApplication.VirtualMachineReset));
        }

        await instance.ExitAsync(root);
        if (stays)
        {
            instance.EndsWithLastSession = false;
        }
        else
        {
            await DestroyAsync(instance, root);
        }
    }

    private ValueTask DestroyAsync(ApplicationInstance instance, TeeRequest root)
    {
        if (_single == instance)
        {
            _single = null;
        }

        if (instance.IsDead)
        {
            return default;
        }

        try
        {
            if (!_environment.IsAbandoned)
            {
                instance.Application.Destroy();
            }
        }
        catch (Exception exception)
        {
            // The instance is gone either way.
            Panic(instance, exception, nameof(TrustedApplication.Destroy));
        }

        return instance.ReleaseAsync(root);
    }

    private bool TryGetInstance(
        EntryLock entryLock, [NotNullWhen(true)] out ApplicationInstance? instance, out TeeResult refusal)
    {
        instance = _single;
        refusal = TeeResult.FromTee(TeeReturnCode.Busy);
        if (instance is { IsDead: false })
        {
            return !IsTaken;
        }

        refusal = Create(entryLock, out instance);
        if (Manifest.SingleInstance)
        {
            _single = instance;
        }

        return instance is not null;
    }

    private TeeResult Create(EntryLock entryLock, out ApplicationInstance? instance)
    {
        instance = null;
        TrustedApplication? claimed = null;
        try
        {
            TrustedApplication application = _registration.Create(_environment.VirtualMachine);
            if (application is null || !application.TryClaim())
            {
                throw new InvalidOperationException(
                    $"The factory of {_registration.Type} must make a new instance each time it is called; it "
                    + $"returned {(application is null ? "null" : "one that is in use")}.");
            }

            claimed = application;
            application.Attach(Manifest.Uuid, _environment.SecretsOf(Manifest), _environment.Memory);
            TeeReturnCode code = application.Create();
            if (code == TeeReturnCode.Success)
            {
                OpenedSessions opened = new(_environment.Directory);
                instance = new ApplicationInstance(application, entryLock, this, opened)
                {
                    HasUsedStorageInCreate = application.Storage.WasUsed,
                };
            }

            return new TeeResult(code, TeeOrigin.TrustedApplication);
        }
        catch (Exception exception)
        {
            // A panic before there is an instance.
            LogPanic(exception, nameof(TrustedApplication.Create));
            return TeeResult.FromTee(TeeReturnCode.TargetDead);
        }
        finally
        {
            if (claimed is not null && instance is null)
            {
                // Nothing is thrown there, and nobody waits for it.
                _ = DisposeApplicationAsync(claimed).AsTask();
            }
        }
    }

    // Storage that it does not get is the cause of whatever the application makes of it.
    private OpTeeStateException RestoreFailed(Exception exception) => _environment.StorageRefusal
        ?? new OpTeeStateException(
            $"Application {Manifest.Uuid} ({_registration.Type}) cannot go on from its saved state: "
            + exception.Message,
            exception);

    private void LogPanic(Exception exception, string entryPoint)
    {
        if (_panics.IsError(out int quiet))
        {
            _environment.Logger.Panicked(
                exception, _environment.VirtualMachine.Name, _registration.Type.Name, Manifest.Uuid, entryPoint, quiet);
        }
        else
        {
            _environment.Logger.PanickedAgain(
                exception, _environment.VirtualMachine.Name, _registration.Type.Name, Manifest.Uuid, entryPoint);
        }
    }

    private void LogFailedDisposal(Exception exception)
    {
        if (_failedDisposals.IsError(out int quiet))
        {
            _environment.Logger.DisposalFailed(
                exception, _environment.VirtualMachine.Name, _registration.Type.Name, Manifest.Uuid, quiet);
        }
        else
        {
            _environment.Logger.DisposalFailedAgain(
                exception, _environment.VirtualMachine.Name, _registration.Type.Name, Manifest.Uuid);
        }
    }
}
