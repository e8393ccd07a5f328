using OpTeeMediator.Backends;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>A <see cref="FailingPartition"/> whose sessions go on after a restore, and which is told, before any of
/// them ends, whether its VM runs here.</summary>
internal sealed class FailingSavablePartition(FailingBackend backend) : FailingPartition(backend), ISavableTeePartition
{
    private bool _isRestored;
    private bool _isTold;

    public bool CanSave(ITeeSession session) => true;

    public ValueTask<ReadOnlyMemory<byte>> SaveAsync(IReadOnlyList<ITeeSession> sessions) => new(new byte[1]);

    public ValueTask<IReadOnlyList<ITeeSession?>> RestoreAsync(ReadOnlyMemory<byte> state, int sessions)
    {
        if (Backend.Plan.EnterAsync<IReadOnlyList<ITeeSession?>>(nameof(RestoreAsync)) is { } failed)
        {
            return new(failed);
        }

        _isRestored = true;
        ITeeSession?[] restored = new ITeeSession?[sessions];
        for (int index = 0; index < sessions; index++)
        {
            FailingSession session = new(Backend) { OnClose = CheckIsTold };
            Backend.Keep(session);
            restored[index] = session;
        }

        return new(restored);
    }

    public void Commit()
    {
        Tell();
        Backend.Plan.Enter(nameof(Commit));
    }

    public void Abandon()
    {
        Tell();
        Backend.Plan.Enter(nameof(Abandon));
    }

    public override ValueTask DisposeAsync()
    {
        CheckIsTold();
        return base.DisposeAsync();
    }

    private void Tell()
    {
        if (_isTold)
        {
            Backend.Violate("A partition was told twice where its VM goes on.");
        }

        _isTold = true;
    }

    private void CheckIsTold()
    {
        if (_isRestored && !_isTold)
        {
            Backend.Violate("A restored session or partition ends, and it was not told where its VM goes on.");
        }
    }
}
