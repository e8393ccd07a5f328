using OpTeeMediator.Backends;
using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>A TEE of one session that finds what is used when it is closed or unregistered, or after it.</summary>
internal sealed class ExploredBackend : ITeePartition, ITeeSession
{
    /// <summary>The command that ends only when a thread of the backend says so.</summary>
    public const uint Lasting = 1;

    private readonly HashSet<TeeSharedMemory> _registered = [];
    private readonly List<TeeSharedMemory> _used = [];
    private bool _isOpen;
    private int _uses;

    public TeeExecutionPolicy Execution => TeeExecutionPolicy.Inline;

    /// <summary>The operation that lasts, once it has begun.</summary>
    public LastingOperation? Operation { get; private set; }

    /// <summary>Whether the guest has nothing here.</summary>
    public bool IsEmpty => !_isOpen && _uses == 0 && _registered.Count == 0;

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        _isOpen = true;
        request.Session = this;
        return new(TeeResult.Success);
    }

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        TeeSharedMemory buffer = request.Parameters[0].Memory!;
        _uses++;
        _used.Add(buffer);
        RequireInUse(buffer);
        Explorer.Reach("invocation");
        if (request.CommandId == Lasting)
        {
            Operation = new LastingOperation(() => EndUse(buffer));
            return new(Operation, 0);
        }

        EndUse(buffer);
        return new(TeeResult.Success);
    }

    public ValueTask CloseAsync(TeeRequest request)
    {
        Require(_isOpen, "A session is closed twice.");
        Require(_uses == 0, "A session is closed that a call uses.");
        Explorer.Reach("closing");
        Require(_uses == 0, "A call uses a session that is being closed.");
        _isOpen = false;
        return default;
    }

    public ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory)
    {
        Require(_registered.Add(memory), "A buffer is registered twice.");
        return new(TeeReturnCode.Success);
    }

    public ValueTask UnregisterMemoryAsync(TeeSharedMemory memory)
    {
        Require(!_used.Contains(memory), "A buffer is unregistered that a call uses.");
        Explorer.Reach("unregistration");
        Require(!_used.Contains(memory), "A call uses a buffer that is being unregistered.");
        Require(_registered.Remove(memory), "A buffer is unregistered twice.");
        return default;
    }

    private void EndUse(TeeSharedMemory buffer)
    {
        RequireInUse(buffer);
        _ = _used.Remove(buffer);
        _uses--;
    }

    private void RequireInUse(TeeSharedMemory buffer)
    {
        Require(_isOpen, "A call uses a session that is closed.");
        Require(_registered.Contains(buffer), "A call uses a buffer that is not registered.");
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            Explorer.Fail(otherwise);
        }
    }
}
