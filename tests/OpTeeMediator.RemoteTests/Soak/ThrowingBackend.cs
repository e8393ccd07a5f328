using OpTeeMediator.Backends;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests.Soak;

/// <summary>Backends that call the guest, wait, and throw where they can.</summary>
internal static class ThrowingBackend
{
    /// <summary>The command that waits until it is cancelled; those below it end by themselves.</summary>
    public const uint Wait = 4;

    private const string Reason = "As the soak test wants it.";
    private const int OneIn = 8;
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(1);

    /// <summary>Creates one.</summary>
    public static ScriptedBackend Create(TeeExecution execution) => new()
    {
        Execution = execution,
        MemoryExecution = execution,
        OnOpen = _ => ValueTask.FromResult(OrThrow(TeeResult.Success)),
        OnInvoke = InvokeAsync,
        OnRegister = _ => OrThrow(TeeReturnCode.Success),
        OnUnregister = _ => OrThrow(ValueTask.CompletedTask),
        OnClose = () => OrThrow(ValueTask.CompletedTask),
        OnReset = () => OrThrow(ValueTask.CompletedTask),
        OnCancel = static request => _ = OrThrow(request),
    };

    private static T OrThrow<T>(T result) =>
        Random.Shared.Next(OneIn) == 0 ? throw new InvalidOperationException(Reason) : result;

    private static async ValueTask<TeeResult> InvokeAsync(TeeRequest request)
    {
        switch (request.CommandId & 0xffff)
        {
            case 0:
                return TeeResult.Success;

            case 1:
                return TeeResult.FromTee((await request.Guest!.GetTimeAsync()).Code);

            case 2:
                TeeSharedMemory? memory = await request.Guest!.AllocateAsync(GuestMemoryKind.Supplicant, 5000);
                return memory is null ? TeeResult.FromTee(TeeReturnCode.OutOfMemory)
                    : OrThrow(true) ? TeeResult.FromTee(await request.Guest.FreeAsync(memory))
                    : TeeResult.Success;

            case 3:
                throw new InvalidOperationException(Reason);

            default:
                // A backend that looks at the request only, on a thread of the pool.
                while (!request.IsCancellationRequested)
                {
                    await Task.Delay(PollInterval);
                }

                return TeeResult.FromTee(TeeReturnCode.Cancel);
        }
    }
}
