using OpTeeMediator.Backends;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>A session of a <see cref="FailingBackend"/>.</summary>
internal sealed class FailingSession(FailingBackend backend) : ITeeSession
{
    /// <summary>Called when the session is closed.</summary>
    public Action OnClose { get; init; } = static () => { };

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        if (backend.Plan.EnterAsync<TeeResult>(nameof(InvokeCommandAsync)) is { } failed)
        {
            return new(failed);
        }

        return request.CommandId switch
        {
            FailingBackend.UseMemory => new(Use(request.Parameters[0].Memory!)),
            FailingBackend.AskGuest => AskAsync(request.Guest!),
            FailingBackend.Pend => backend.PendAsync(request),
            _ => new(TeeResult.Success),
        };
    }

    public ValueTask CloseAsync(TeeRequest request)
    {
        OnClose();
        backend.Release(this);
        return backend.Plan.EnterAsync<bool>(nameof(CloseAsync)) is { } failed ? new(failed) : ValueTask.CompletedTask;
    }

    private static TeeResult Use(TeeSharedMemory memory)
    {
        Span<byte> bytes = stackalloc byte[16];
        bool isUsed = memory.TryRead(0, bytes) & memory.TryWrite(0, bytes);
        _ = memory.TryGetHostAddress(0, out _, out _);
        _ = memory.MappingGranule;
        _ = memory.TryGetFile(0, out _, out _, out _);
        return TeeResult.FromTee(isUsed ? TeeReturnCode.Success : TeeReturnCode.BadParameters);
    }

    private async ValueTask<TeeResult> AskAsync(GuestServices guest)
    {
        if (backend.Execution == TeeExecution.Worker)
        {
            _ = guest.Call(0x1234);
            _ = guest.Allocate(GuestMemoryKind.Kernel, 64);
        }
        else
        {
            _ = await guest.CallAsync(0x1234);
            _ = await guest.AllocateAsync(GuestMemoryKind.Kernel, 64);
        }

        return TeeResult.Success;
    }
}
