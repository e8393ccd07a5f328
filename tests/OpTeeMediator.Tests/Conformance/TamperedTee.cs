using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.Conformance;

/// <summary>A TEE whose answers to commands are changed.</summary>
/// <param name="tee">The honest one.</param>
/// <param name="tamper">
/// Gets each completed command and its result, may change its outputs, and gives the result for the guest.
/// </param>
internal sealed class TamperedTee(ITeeBackend tee, Func<TeeRequest, TeeResult, TeeResult> tamper) : ITeeBackend
{
    /// <inheritdoc/>
    public TeeAccess DefaultAccess => tee.DefaultAccess;

    /// <inheritdoc/>
    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine) =>
        new Partition(tee.CreatePartition(virtualMachine), tamper);

    private sealed class Partition(ITeePartition partition, Func<TeeRequest, TeeResult, TeeResult> tamper)
        : ITeePartition
    {
        public TeeExecutionPolicy Execution => partition.Execution;

        public IReadOnlyList<TeeDevice>? Devices => partition.Devices;

        public async ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
        {
            TeeResult result = await partition.OpenSessionAsync(request);
            request.Session = request.Session is { } session ? new Session(session, tamper) : null;
            return result;
        }

        public ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory) =>
            partition.RegisterMemoryAsync(memory);

        public ValueTask UnregisterMemoryAsync(TeeSharedMemory memory) => partition.UnregisterMemoryAsync(memory);

        public void Cancel(TeeRequest request) => partition.Cancel(request);

        public ValueTask ResetAsync() => partition.ResetAsync();

        public ValueTask DisposeAsync() => partition.DisposeAsync();
    }

    private sealed class Session(ITeeSession session, Func<TeeRequest, TeeResult, TeeResult> tamper) : ITeeSession
    {
        public async ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) =>
            tamper(request, await session.InvokeCommandAsync(request));

        public ValueTask CloseAsync(TeeRequest request) => session.CloseAsync(request);
    }
}
