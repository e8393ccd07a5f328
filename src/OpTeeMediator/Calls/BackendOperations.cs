using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Calls;

/// <summary>What the mediator asks of the backend beside the operations of calls. What the backend throws becomes a
/// result and a log entry. Thread-safe.</summary>
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
    /// <returns>What the backend threw.</returns>
    public static Exception? CloseAndWait(ITeeSession session, TeeRequest request)
    {
        try
        {
            Wait(session.CloseAsync(request));
            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }

    /// <summary>Unregisters a buffer that a driver has left, and waits for it.</summary>
    /// <returns>What the backend threw.</returns>
    public Exception? UnregisterAndWait(TeeSharedMemory buffer)
    {
        try
        {
            Wait(partition.UnregisterMemoryAsync(buffer));
            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }

    /// <summary>Resets the TEE with its VM.</summary>
    /// <returns>What the backend threw.</returns>
    public async ValueTask<Exception?> ResetAsync()
    {
        try
        {
            await partition.ResetAsync();
            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }

    /// <summary>Tells the TEE that the VM is gone.</summary>
    /// <returns>What the backend threw.</returns>
    public async ValueTask<Exception?> DisposeAsync()
    {
        try
        {
            await partition.DisposeAsync();
            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }

    /// <summary>Asks the backend to end an operation early.</summary>
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

    private static void Wait(ValueTask operation)
    {
        if (!operation.IsCompletedSuccessfully)
        {
            operation.AsTask().GetAwaiter().GetResult();
            return;
        }

        operation.GetAwaiter().GetResult();
    }
}
