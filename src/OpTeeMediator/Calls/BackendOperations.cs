using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Calls;

/// <summary>What the mediator asks of the backend beside the operations of calls. What the backend throws becomes a
/// result, and of operations a log entry. Thread-safe.</summary>
internal sealed class BackendOperations(ITeePartition partition, ILogger log)
{
    private readonly LogRateLimit[] _limits = [.. Enum.GetValues<TeeOperation>().Select(_ => new LogRateLimit())];

    /// <summary>What the guest gets when the backend threw.</summary>
    public TeeResult BackendFailed(TeeOperation operation, Exception exception)
    {
        if (_limits[(int)operation].TryPass(out long suppressed))
        {
            log.BackendFailed(operation, suppressed, exception);
        }

        return TeeResult.CommunicationFailure;
    }

    /// <summary>Closes a session that a driver has left, and waits for it.</summary>
    public static Exception? CloseAndWait(ITeeSession session, TeeRequest request) =>
        CatchAndWait(static (session, request) => session.CloseAsync(request), session, request);

    /// <summary>Unregisters a buffer that a driver has left, and waits for it.</summary>
    public Exception? UnregisterAndWait(TeeSharedMemory buffer) =>
        CatchAndWait(static (partition, buffer) => partition.UnregisterMemoryAsync(buffer), partition, buffer);

    public ValueTask<Exception?> ResetAsync() => CatchAsync(partition.ResetAsync);

    public ValueTask<Exception?> DisposeAsync() => CatchAsync(partition.DisposeAsync);

    public void Cancel(TeeRequest request, TeeOperation operation)
    {
        try
        {
            partition.Cancel(request);
        }
        catch (Exception exception)
        {
            _ = BackendFailed(operation, exception);
        }
    }

    private static Exception? CatchAndWait<TTarget, TArgument>(
        Func<TTarget, TArgument, ValueTask> operation, TTarget target, TArgument argument)
    {
        try
        {
            ValueTask running = operation(target, argument);
            if (running.IsCompletedSuccessfully)
            {
                running.GetAwaiter().GetResult();
            }
            else
            {
                running.AsTask().GetAwaiter().GetResult();
            }

            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }

    private static async ValueTask<Exception?> CatchAsync(Func<ValueTask> operation)
    {
        try
        {
            await operation();
            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }
}
