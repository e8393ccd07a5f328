using OpTeeMediator.Backends;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>What a <see cref="FailingBackend"/> keeps for one VM. A call that ends something has
/// ended it when it fails.</summary>
internal class FailingPartition(FailingBackend backend) : ITeePartition
{
    protected FailingBackend Backend => backend;

    public TeeExecutionPolicy Execution
    {
        get
        {
            backend.Plan.Enter(nameof(Execution));
            return TeeExecutionPolicy.ByApplication(ExecutionOf, backend.Execution);
        }
    }

    public IReadOnlyList<TeeDevice>? Devices
    {
        get
        {
            backend.Plan.Enter(nameof(Devices));
            return [];
        }
    }

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request) =>
        backend.Plan.EnterAsync<TeeResult>(nameof(OpenSessionAsync)) is { } failed ? new(failed) : OpenAsync(request);

    public ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory)
    {
        if (backend.Plan.EnterAsync<TeeReturnCode>(nameof(RegisterMemoryAsync)) is { } failed)
        {
            return new(failed);
        }

        backend.Keep(memory);
        return new(TeeReturnCode.Success);
    }

    public ValueTask UnregisterMemoryAsync(TeeSharedMemory memory)
    {
        backend.Release(memory);
        if (backend.Plan.EnterAsync<TeeResult>(nameof(UnregisterMemoryAsync)) is { } failed)
        {
            return new(failed);
        }

        return memory.Size == FailingBackend.SizeThatPends ? new(backend.PendAsync(null).AsTask())
            : ValueTask.CompletedTask;
    }

    public void Cancel(TeeRequest request)
    {
        backend.Plan.Enter(nameof(Cancel));
        backend.EndPending();
    }

    public ValueTask ResetAsync() =>
        backend.Plan.EnterAsync<bool>(nameof(ResetAsync)) is { } failed ? new(failed) : ValueTask.CompletedTask;

    public virtual ValueTask DisposeAsync()
    {
        backend.Release(this);
        return backend.Plan.EnterAsync<bool>(nameof(DisposeAsync)) is { } failed ? new(failed)
            : ValueTask.CompletedTask;
    }

    private TeeExecution ExecutionOf(Guid application)
    {
        backend.Plan.Enter(nameof(ExecutionOf));
        return backend.Execution;
    }

    private async ValueTask<TeeResult> OpenAsync(TeeRequest request)
    {
        // Left to the mediator, which closes it before the guest gets its id.
        _ = backend.Execution == TeeExecution.Worker
            ? request.Guest!.Allocate(GuestMemoryKind.Kernel, 64)
            : await request.Guest!.AllocateAsync(GuestMemoryKind.Kernel, 64);
        FailingSession session = new(backend);
        backend.Keep(session);
        request.Session = session;
        return TeeResult.Success;
    }
}
