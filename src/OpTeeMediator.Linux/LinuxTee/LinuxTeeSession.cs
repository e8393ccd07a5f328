using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>A session with a trusted application of the host's TEE.</summary>
internal sealed class LinuxTeeSession(LinuxTeePartition partition, uint session) : ITeeSession
{
    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) => new(partition.Invoke(request, session));

    public ValueTask CloseAsync(TeeRequest request)
    {
        partition.CloseSession(session);
        return ValueTask.CompletedTask;
    }
}
