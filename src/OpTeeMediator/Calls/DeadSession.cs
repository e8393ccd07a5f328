using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>A session that could not move to another process, as if its trusted application had died.</summary>
internal sealed class DeadSession : ITeeSession
{
    private DeadSession()
    {
    }

    public static DeadSession Instance { get; } = new();

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) =>
        new(TeeResult.FromTee(TeeReturnCode.TargetDead));
}
