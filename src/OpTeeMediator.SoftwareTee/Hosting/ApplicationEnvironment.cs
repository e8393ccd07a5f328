using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Operations;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.State;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>What the applications of one VM share.</summary>
/// <param name="VirtualMachine">The VM.</param>
/// <param name="Logger">Where the VM's applications are logged.</param>
/// <param name="Queue">Where operations wait for a lock or for time.</param>
/// <param name="Cancellations">The tokens of running operations.</param>
/// <param name="Directory">The applications, as they see each other.</param>
/// <param name="Deferred">Sessions that are to be closed after an operation of the guest.</param>
/// <param name="Memory">What the VM's applications may allocate.</param>
/// <param name="Secrets">The VM's trusted storage and keys.</param>
internal sealed record ApplicationEnvironment(
    TeeVirtualMachine VirtualMachine,
    ILogger Logger,
    EntryLockQueue Queue,
    RunningCancellations Cancellations,
    IApplicationDirectory Directory,
    DeferredClosings Deferred,
    MemoryQuota Memory,
    VirtualMachineSecrets Secrets)
{
    /// <summary>Whether the VM goes on elsewhere: applications are freed, and not told of an end.</summary>
    public bool IsAbandoned { get; set; }

    /// <summary>The VM goes on elsewhere. An application that is freed cannot change its storage either.</summary>
    public void Abandon()
    {
        IsAbandoned = true;
        Secrets.Storage?.Hold();
    }

    /// <summary>Why the VM cannot be restored if an application has used trusted storage meanwhile.</summary>
    public OpTeeStateException? StorageRefusal => Secrets.Storage?.EarlyUser is { } application
        ? new OpTeeStateException(
            $"Application {application} uses its trusted storage while it is restored, and the VM may still run where "
            + $"it was saved: have it use storage in the entry points of sessions, neither in "
            + $"{nameof(TrustedApplication.Create)} nor in {nameof(ISavableApplication.RestoreInstance)} or "
            + $"{nameof(ISavableApplication.RestoreSession)}.")
        : null;

    /// <summary>Checks that no application has used trusted storage since the restore of the VM has begun.</summary>
    /// <exception cref="OpTeeStateException">One has.</exception>
    public void ThrowIfStorageWasUsed()
    {
        if (StorageRefusal is { } refusal)
        {
            throw refusal;
        }
    }

    /// <summary>Runs an operation of the guest, by which the storage may call it.</summary>
    public TResult Run<TState, TResult>(TeeRequest request, TState state, Func<TState, TeeRequest, TResult> operation)
        where TState : class =>
        Secrets.Storage is { CallsGuest: true }
            ? ThreadOperation.Run(
                request.Guest,
                (State: state, Request: request, Operation: operation),
                static run => run.Operation(run.State, run.Request))
            : operation(state, request);

    /// <summary>What an application gets of the VM's secrets: one that runs inline cannot wait for the guest, so that
    /// storage which calls the guest is not for it.</summary>
    public VirtualMachineSecrets SecretsOf(TrustedApplicationManifest manifest) =>
        manifest.Execution == TeeExecution.Inline && Secrets.Storage is { CallsGuest: true }
            ? Secrets with { Storage = null }
            : Secrets;

    /// <summary>Ends an operation of the guest: it is inside no application any more.</summary>
    public void RunDeferred(TeeRequest request, TeeRequest root)
    {
        if (request == root)
        {
            Deferred.Run(root);
        }
    }
}
