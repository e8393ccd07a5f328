using OpTeeMediator.Backends;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>What the model of <see cref="StatefulTests"/> knows of one call, and the handle by which the test
/// moves its backend.</summary>
internal sealed class ModelledCall
{
    private TaskCompletionSource<TeeReturnCode?> _next = new();

    /// <summary>The guest address of its message.</summary>
    public ulong Page { get; set; }

    /// <summary>The registers that the guest holds.</summary>
    public SmcRegisters Registers { get; set; }

    /// <summary>The cookie of the buffer that it uses.</summary>
    public ulong Cookie { get; init; }

    /// <summary>Whether its RPC waits for the guest to fetch it, or to answer it.</summary>
    public bool HasAskedGuest { get; set; }

    /// <summary>Whether the guest has the RPC.</summary>
    public bool IsWithGuest { get; set; }

    /// <summary>Whether the guest has answered while the VM was paused, so that the operation learns it when the guest
    /// resumes the call afterwards.</summary>
    public bool IsAnswerHeld { get; set; }

    /// <summary>Whether its operation is over.</summary>
    public bool IsFinished { get; set; }

    /// <summary>Whether it was cancelled.</summary>
    public bool IsCancelled { get; set; }

    /// <summary>Whether it waits until others no longer use what it closes or unregisters.</summary>
    public bool IsDraining { get; init; }

    /// <summary>The operation as the backend sees it.</summary>
    public TeeRequest? Request { get; private set; }

    /// <summary>What the last RPC was answered with.</summary>
    public TeeReturnCode Answer { get; private set; }

    /// <summary>The backend's side: asks the guest as often as it is told to, then ends.</summary>
    public async ValueTask<TeeResult> PerformAsync(TeeRequest request)
    {
        Request = request;
        while (await _next.Task is not { } code)
        {
            _next = new TaskCompletionSource<TeeReturnCode?>();
            Answer = await request.Guest!.SuspendAsync(TimeSpan.FromMilliseconds(1));
        }

        return TeeResult.FromTee(request.IsCancellationRequested ? TeeReturnCode.Cancel : TeeReturnCode.Success);
    }

    /// <summary>Has the backend ask the guest.</summary>
    public void AskGuest()
    {
        HasAskedGuest = true;
        _next.SetResult(null);
    }

    /// <summary>Has the operation end.</summary>
    public void Finish()
    {
        IsFinished = true;
        _next.SetResult(TeeReturnCode.Success);
    }
}
