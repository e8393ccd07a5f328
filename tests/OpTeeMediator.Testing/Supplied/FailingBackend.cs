using System.Collections.Concurrent;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>A TEE of which one call fails. It counts what it keeps for its VMs, and what it was asked
/// against its contract.</summary>
/// <remarks>Thread-safe.</remarks>
/// <param name="plan">Which call fails.</param>
/// <param name="execution">Where all operations run.</param>
public sealed class FailingBackend(FailurePlan plan, TeeExecution execution) : ITeeBackend
{
    /// <summary>The command that ends at once.</summary>
    public const uint Return = 0;

    /// <summary>The command that reads, writes and maps the memory of its first parameter.</summary>
    public const uint UseMemory = 1;

    /// <summary>The command that asks the guest for the time and for memory, which it leaves to the mediator.</summary>
    public const uint AskGuest = 2;

    /// <summary>The command that ends when it is cancelled, or at <see cref="EndPending"/>.</summary>
    public const uint Pend = 3;

    /// <summary>The size of buffers whose unregistration ends at <see cref="EndPending"/>.</summary>
    public const ulong SizeThatPends = 0x1800;

    private readonly ConcurrentDictionary<TaskCompletionSource<TeeResult>, bool> _pending = new();
    private readonly ConcurrentDictionary<object, bool> _live = new();
    private readonly ConcurrentQueue<string> _violations = new();

    public TeeAccess DefaultAccess
    {
        get
        {
            plan.Enter(nameof(DefaultAccess));
            return TeeAccess.All;
        }
    }

    /// <summary>Whether partitions can save and restore sessions.</summary>
    public bool IsSavable { get; init; }

    /// <summary>What was asked against the contract.</summary>
    public IReadOnlyCollection<string> Violations => _violations;

    /// <summary>Partitions, sessions and buffers that the backend keeps.</summary>
    public int Live => _live.Count;

    internal FailurePlan Plan => plan;

    internal TeeExecution Execution => execution;

    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine)
    {
        plan.Enter(nameof(CreatePartition));
        _ = virtualMachine.LoggerFactory.CreateLogger("backend");
        FailingPartition partition = IsSavable ? new FailingSavablePartition(this) : new FailingPartition(this);
        Keep(partition);
        return partition;
    }

    /// <summary>Ends all operations that pend.</summary>
    public void EndPending()
    {
        foreach (TaskCompletionSource<TeeResult> pending in _pending.Keys)
        {
            _ = pending.TrySetResult(TeeResult.FromTee(TeeReturnCode.Cancel));
        }
    }

    /// <summary>Ends at <see cref="EndPending"/>.</summary>
    /// <param name="request">The operation; one that is cancelled already ends at once.</param>
    internal async ValueTask<TeeResult> PendAsync(TeeRequest? request)
    {
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _pending[end] = true;
        if (request is { IsCancellationRequested: true })
        {
            _ = end.TrySetResult(TeeResult.FromTee(TeeReturnCode.Cancel));
        }

        TeeResult result = await end.Task;
        _ = _pending.TryRemove(end, out _);
        return result;
    }

    internal void Violate(string what) => _violations.Enqueue(what);

    internal void Keep(object item)
    {
        if (!_live.TryAdd(item, true))
        {
            _violations.Enqueue($"A {item.GetType().Name} was begun twice.");
        }
    }

    internal void Release(object item)
    {
        if (!_live.TryRemove(item, out _))
        {
            _violations.Enqueue($"A {item.GetType().Name} was ended that had ended, or never began.");
        }
    }
}
