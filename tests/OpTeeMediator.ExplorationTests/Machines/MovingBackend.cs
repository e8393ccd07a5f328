using OpTeeMediator.Backends;
using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>A TEE whose sessions move with their VM, and which finds operations that begin twice.</summary>
/// <param name="began">The operations that have begun, in whichever process.</param>
internal sealed class MovingBackend(HashSet<uint> began) : ISavableTeePartition
{
    private readonly HashSet<TeeSharedMemory> _registered = [];
    private int _sessions;
    private int _working;

    /// <summary>The application whose operations run on workers.</summary>
    public static Guid OnWorker { get; } = new("6a1f0c36-93a5-4c4b-9d25-6ab5c0d7e3f1");

    public TeeExecutionPolicy Execution { get; } = TeeExecutionPolicy.ByApplication(
        static application => application == OnWorker ? TeeExecution.Worker : TeeExecution.Inline,
        TeeExecution.Inline);

    /// <summary>Whether the VM is paused: nobody works here.</summary>
    public bool IsPaused { get; set; }

    /// <summary>Whether the VM has nothing here.</summary>
    public bool IsEmpty => _sessions == 0 && _working == 0 && _registered.Count == 0;

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        RequireNotPaused();
        _sessions++;
        request.Session = new MovingSession(this, request.Application == OnWorker);
        return new(TeeResult.Success);
    }

    public ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory)
    {
        Require(_registered.Add(memory), "A buffer is registered twice.");
        return new(TeeReturnCode.Success);
    }

    public ValueTask UnregisterMemoryAsync(TeeSharedMemory memory)
    {
        RequireNotPaused();
        Require(_registered.Remove(memory), "A buffer is unregistered twice.");
        return default;
    }

    public bool CanSave(ITeeSession session) => true;

    public ValueTask<ReadOnlyMemory<byte>> SaveAsync(IReadOnlyList<ITeeSession> sessions)
    {
        byte[] state = [.. sessions.Select(static session => ((MovingSession)session).Blocks ? (byte)1 : (byte)0)];
        return new(state);
    }

    public ValueTask<IReadOnlyList<ITeeSession?>> RestoreAsync(ReadOnlyMemory<byte> state, int sessions)
    {
        _sessions = sessions;
        return new([.. state.ToArray().Select(blocks => new MovingSession(this, blocks != 0))]);
    }

    public void Begin(uint operation)
    {
        RequireNotPaused();
        Require(began.Add(operation), "An operation begins twice.");
        _working++;
    }

    public void End() => _working--;

    public void Close()
    {
        RequireNotPaused();
        Require(_sessions-- > 0, "A session is closed twice.");
    }

    private void RequireNotPaused() => Require(!IsPaused, "Work begins at the backend of a paused VM.");

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            Explorer.Fail(otherwise);
        }
    }
}
