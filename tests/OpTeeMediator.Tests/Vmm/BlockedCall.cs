namespace OpTeeMediator.Tests.Vmm;

/// <summary>A call of the guest that stays inside the TEE until it is released.</summary>
internal sealed class BlockedCall : IDisposable
{
    private readonly ManualResetEventSlim _entered = new();
    private readonly ManualResetEventSlim _mayLeave = new();

    /// <summary>Makes the call on a thread of its own, and waits until it is inside.</summary>
    public BlockedCall(OpTeeBench bench)
    {
        bench.InTee = () =>
        {
            _entered.Set();
            _mayLeave.Wait();
        };
        Answer = Task.Factory.StartNew(
            () => bench.Finish(bench.NewCall()),
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        _entered.Wait();
    }

    /// <summary>What the guest gets in the end.</summary>
    public Task<uint> Answer { get; }

    public void Release() => _mayLeave.Set();

    public void Dispose()
    {
        _entered.Dispose();
        _mayLeave.Dispose();
    }
}
