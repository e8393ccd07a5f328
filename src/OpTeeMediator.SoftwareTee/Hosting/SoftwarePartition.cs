using System.Collections.Frozen;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Operations;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>The trusted applications as one VM sees them.</summary>
internal sealed class SoftwarePartition : ISavableTeePartition, IApplicationDirectory
{
    private readonly FrozenDictionary<Guid, ApplicationHost> _hosts;
    private readonly ApplicationEnvironment _environment;
    private readonly ITeeSession? _randomNumbers;
    private readonly PartitionState _state;
    private bool _isDisposed;

    /// <summary>Creates the partition of a VM.</summary>
    /// <param name="virtualMachine">The VM.</param>
    /// <param name="logger">Where the VM's applications are logged.</param>
    /// <param name="registrations">The trusted applications.</param>
    /// <param name="randomNumbers">The session of the built-in random number generator, if there is one.</param>
    /// <param name="memoryQuota">What the VM's applications may allocate, in bytes.</param>
    /// <param name="secrets">The VM's trusted storage and keys; the partition owns the storage.</param>
    public SoftwarePartition(
        TeeVirtualMachine virtualMachine,
        ILogger logger,
        IEnumerable<ApplicationRegistration> registrations,
        ITeeSession? randomNumbers,
        long memoryQuota,
        VirtualMachineSecrets secrets)
    {
        _randomNumbers = randomNumbers;
        _environment =
            new ApplicationEnvironment(
                virtualMachine,
                logger,
                new EntryLockQueue(),
                new RunningCancellations(),
                this,
                new DeferredClosings(),
                new MemoryQuota(memoryQuota),
                secrets);
        Dictionary<Guid, ApplicationHost> hosts = [];
        List<TeeDevice> devices = [];
        foreach (ApplicationRegistration registration in registrations)
        {
            TrustedApplicationManifest manifest = registration.Manifest;
            VirtualMachineSecrets supplied = _environment.SecretsOf(manifest);
            if ((manifest.NeedsStorage && supplied.Storage is null) || (manifest.NeedsKeys && supplied.Keys is null))
            {
                continue;
            }

            hosts.Add(manifest.Uuid, new ApplicationHost(registration, _environment));
            if (manifest.DeviceDependency is { } dependency)
            {
                devices.Add(new TeeDevice(manifest.Uuid, dependency));
            }
        }

        if (randomNumbers is not null)
        {
            devices.Add(new TeeDevice(RandomNumberGenerator.Uuid));
        }

        _hosts = hosts.ToFrozenDictionary();
        _state = new PartitionState(_hosts, randomNumbers, _environment);
        Devices = devices;
        Execution = hosts.Values.Any(host => host.Manifest.Execution == TeeExecution.Worker)
            ? TeeExecutionPolicy.ByApplication(ExecutionOf, memory: TeeExecution.Inline)
            : TeeExecutionPolicy.Inline;
    }

    public TeeExecutionPolicy Execution { get; }

    public IReadOnlyList<TeeDevice> Devices { get; }

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return _environment.Run(
            request, this, static (partition, request) => partition.OpenSessionAsync(request, request));
    }

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request, TeeRequest root)
    {
        if (_randomNumbers is not null && request.Application == RandomNumberGenerator.Uuid)
        {
            request.Session = _randomNumbers;
            return new(TeeResult.Success);
        }

        return _hosts.TryGetValue(request.Application, out ApplicationHost? host)
            ? new(host.OpenSession(request, root))
            : new(TeeResult.FromTee(TeeReturnCode.ItemNotFound));
    }

    public ValueTask<TeeResult> InvokeCommandAsync(ITeeSession session, TeeRequest request, TeeRequest root) =>
        session is ApplicationSession application
            ? new(application.Invoke(request, root))
            : session.InvokeCommandAsync(request);

    public ValueTask CloseAsync(ITeeSession session, TeeRequest request, TeeRequest root)
    {
        if (session is not ApplicationSession application)
        {
            return session.CloseAsync(request);
        }

        application.Close(request, root);
        return default;
    }

    public void Cancel(TeeRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        _environment.Cancellations.CancelRequested();
        _environment.Queue.Wake();
    }

    /// <remarks>Instances that are kept alive end: at once, or with the last session of the next driver.</remarks>
    public async ValueTask ResetAsync()
    {
        foreach (ApplicationHost host in _hosts.Values)
        {
            await host.ResetAsync();
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            foreach (ApplicationHost host in _hosts.Values)
            {
                await host.DestroyAsync();
            }

            _environment.Secrets.Storage?.Dispose();
        }
    }

    public bool CanSave(ITeeSession session) => _state.CanSave(session);

    public ValueTask<ReadOnlyMemory<byte>> SaveAsync(IReadOnlyList<ITeeSession> sessions)
    {
        ArgumentNullException.ThrowIfNull(sessions);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return new(_state.Save(sessions));
    }

    public ValueTask<IReadOnlyList<ITeeSession?>> RestoreAsync(ReadOnlyMemory<byte> state, int sessions)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);

        // The VM may run where it was: its storage is used there, until this is committed.
        _environment.Secrets.Storage?.Hold();

        // What a failed restore leaves goes on where it was, and is not told of an end.
        _environment.IsAbandoned = true;
        try
        {
            return new(_state.Restore(state, sessions));
        }
        finally
        {
            _environment.IsAbandoned = false;
        }
    }

    public void Commit() => _environment.Secrets.Storage?.Release();

    public void Abandon() => _environment.Abandon();

    // What is no application is refused at once.
    private TeeExecution ExecutionOf(Guid application) =>
        _hosts.TryGetValue(application, out ApplicationHost? host) ? host.Manifest.Execution : TeeExecution.Inline;
}
