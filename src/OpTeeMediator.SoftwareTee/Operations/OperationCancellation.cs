using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>Whether the operation that a session runs is to end early.</summary>
/// <remarks>Set by the operation's thread, read by any.</remarks>
internal sealed class OperationCancellation : IOuterOperation
{
    private volatile TeeRequest? _request;
    private volatile bool _isUnmasked;

    /// <summary>The operation; <see langword="null"/> if none runs.</summary>
    public TeeRequest? Request
    {
        get => _request;
        set => _request = value;
    }

    /// <summary>Whether the client's cancellation takes effect.</summary>
    public bool IsUnmasked
    {
        get => _isUnmasked;
        set => _isUnmasked = value;
    }

    /// <summary>Whether a cancellation is requested that takes effect. The end of the VM cannot be masked.</summary>
    public bool IsRequested =>
        _request is { IsCancellationRequested: true } request && (_isUnmasked || request.IsTerminationRequested);

    /// <remarks>A cancellation that the application masks does not reach what it calls.</remarks>
    bool IOuterOperation.IsCancellationRequested => IsRequested;

    bool IOuterOperation.IsTerminationRequested => _request is { IsTerminationRequested: true };
}
