using OpTeeMediator.Backends;
using OpTeeMediator.State;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>A TEE whose sessions can be saved; of each the state is one byte.</summary>
internal sealed class SavableBackend : ScriptedBackend, ISavableTeePartition
{
    private int _restores;
    private int _outcomes;

    /// <summary>Whether the backend was told of each restored VM where it goes on.</summary>
    public bool KnowsOutcomes => _outcomes >= _restores;

    public void Commit() => _outcomes++;

    public void Abandon() => _outcomes++;

    public bool CanSave(ITeeSession session) => true;

    public ValueTask<ReadOnlyMemory<byte>> SaveAsync(IReadOnlyList<ITeeSession> sessions) =>
        new(new byte[sessions.Count]);

    public async ValueTask<IReadOnlyList<ITeeSession?>> RestoreAsync(ReadOnlyMemory<byte> state, int sessions)
    {
        if (state.Length != sessions)
        {
            throw new OpTeeStateException("The state is another's.");
        }

        List<ITeeSession?> restored = [];
        while (restored.Count < sessions)
        {
            TeeRequest request = new() { Operation = TeeOperation.OpenSession };
            Func<TeeRequest, ValueTask<TeeResult>>? onOpen = OnOpen;
            OnOpen = null;
            _ = await OpenSessionAsync(request);
            OnOpen = onOpen;
            restored.Add(request.Session);
        }

        _restores++;
        return restored;
    }
}
