using OpTeeMediator.Backends;
using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>A session whose operations ask the guest once: by blocking their worker, or by an await.</summary>
internal sealed class MovingSession(MovingBackend backend, bool blocks) : ITeeSession
{
    public bool Blocks => blocks;

    public async ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        backend.Begin(request.CommandId);
        Explorer.Reach("invocation");
        TeeReturnCode answer = blocks ? request.Guest!.Suspend(TimeSpan.Zero)
            : await request.Guest!.SuspendAsync(TimeSpan.Zero);
        backend.End();
        return answer == TeeReturnCode.Success ? TeeResult.Success : TeeResult.FromTee(answer);
    }

    public ValueTask CloseAsync(TeeRequest request)
    {
        backend.Close();
        return default;
    }
}
