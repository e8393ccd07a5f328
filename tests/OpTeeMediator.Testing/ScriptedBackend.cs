using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Testing;

/// <summary>A TEE whose answers the test writes. By default everything succeeds, inline and at once.</summary>
public class ScriptedBackend : ITeeBackend, ITeePartition, ITeeSession
{
    private int _partitions;
    private int _disposals;
    private int _resets;
    private int _sessions;
    private int _closings;
    private int _registered;
    private int _cancellations;

    public Func<TeeRequest, ValueTask<TeeResult>>? OnOpen { get; set; }

    public Func<TeeRequest, ValueTask<TeeResult>>? OnInvoke { get; set; }

    public Func<TeeSharedMemory, TeeReturnCode>? OnRegister { get; set; }

    public Func<TeeSharedMemory, ValueTask>? OnUnregister { get; set; }

    /// <summary>Called with the VM when its partition is created.</summary>
    public Action<TeeVirtualMachine>? OnCreate { get; set; }

    /// <summary>Called when the mediator asks where the operations of a session run, unless all run inline.</summary>
    public Func<Guid, TeeExecution>? OnExecutionOf { get; set; }

    public Action<TeeRequest>? OnCancel { get; set; }

    public Func<ValueTask>? OnClose { get; set; }

    public Func<ValueTask>? OnReset { get; set; }

    public TeeExecution Execution { get; set; } = TeeExecution.Inline;

    public TeeExecution MemoryExecution { get; set; } = TeeExecution.Inline;

    TeeExecutionPolicy ITeePartition.Execution =>
        Execution == TeeExecution.Worker || MemoryExecution == TeeExecution.Worker
            ? TeeExecutionPolicy.ByApplication(
                application => OnExecutionOf?.Invoke(application) ?? Execution, MemoryExecution)
            : TeeExecutionPolicy.Inline;

    public IReadOnlyList<TeeDevice>? Devices { get; set; } = [];

    public OpTeeRevision? Revision { get; set; }

    public TeeAccess DefaultAccess { get; set; } = TeeAccess.All;

    /// <summary>How often the backend was told that a VM exists, and that it is gone.</summary>
    public int Partitions => Volatile.Read(ref _partitions);

    public int Disposals => Volatile.Read(ref _disposals);

    /// <summary>How often the backend was told that the VM is reset.</summary>
    public int Resets => Volatile.Read(ref _resets);

    public int OpenSessions => Volatile.Read(ref _sessions) - Volatile.Read(ref _closings);

    public int RegisteredBuffers => Volatile.Read(ref _registered);

    public int Cancellations => Volatile.Read(ref _cancellations);

    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine)
    {
        _ = Interlocked.Increment(ref _partitions);
        OnCreate?.Invoke(virtualMachine);
        return this;
    }

    public async ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        TeeResult result = OnOpen is null ? TeeResult.Success : await OnOpen(request);
        if (result.IsSuccess)
        {
            // A script may have set a session of its own.
            request.Session ??= this;
            _ = Interlocked.Increment(ref _sessions);
        }

        return result;
    }

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) =>
        OnInvoke is null ? ValueTask.FromResult(TeeResult.Success) : OnInvoke(request);

    public ValueTask CloseAsync(TeeRequest request)
    {
        _ = Interlocked.Increment(ref _closings);
        return OnClose is null ? ValueTask.CompletedTask : OnClose();
    }

    public ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory)
    {
        TeeReturnCode code = OnRegister is null ? TeeReturnCode.Success : OnRegister(memory);
        if (code == TeeReturnCode.Success)
        {
            _ = Interlocked.Increment(ref _registered);
        }

        return ValueTask.FromResult(code);
    }

    public ValueTask UnregisterMemoryAsync(TeeSharedMemory memory)
    {
        _ = Interlocked.Decrement(ref _registered);
        return OnUnregister is null ? ValueTask.CompletedTask : OnUnregister(memory);
    }

    public void Cancel(TeeRequest request)
    {
        _ = Interlocked.Increment(ref _cancellations);
        OnCancel?.Invoke(request);
    }

    public ValueTask ResetAsync()
    {
        _ = Interlocked.Increment(ref _resets);
        return OnReset is null ? ValueTask.CompletedTask : OnReset();
    }

    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        _ = Interlocked.Increment(ref _disposals);
        return ValueTask.CompletedTask;
    }
}
