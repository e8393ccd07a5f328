using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Calls;

/// <summary>Performs the operations of slots at the backend. What the backend throws becomes a
/// result and a log entry.</summary>
internal sealed class BackendOperations(ITeePartition partition, TeeExecutionPolicy execution, ILogger log)
{
    private readonly LogRateLimit[] _limits = [.. Enum.GetValues<TeeOperation>().Select(_ => new LogRateLimit())];

    /// <summary>Performs the operation of a slot. An exception of the backend becomes a result.</summary>
    /// <returns>Whether it has ended; otherwise the slot's <see cref="CallSlot.Complete"/> tells.</returns>
    /// <remarks>
    /// Each operation looks at its own ValueTask: one that is handed on costs as much as the rest of the way to an
    /// inline backend, because the processor cannot forward its small fields to one wide copy.
    /// </remarks>
    public bool TryPerform(CallSlot slot, out TeeResult result)
    {
        TeeRequest request = slot.Request;
        try
        {
            switch (slot.Operation)
            {
                case TeeOperation.InvokeCommand:
                    ValueTask<TeeResult> invocation = request.Session!.InvokeCommandAsync(request);
                    if (invocation.IsCompletedSuccessfully)
                    {
                        result = invocation.Result;
                        return true;
                    }

                    slot.Await(invocation);
                    break;

                case TeeOperation.OpenSession:
                    ValueTask<TeeResult> opening = partition.OpenSessionAsync(request);
                    if (opening.IsCompletedSuccessfully)
                    {
                        result = opening.Result;
                        return true;
                    }

                    slot.Await(opening);
                    break;

                case TeeOperation.RegisterMemory:
                    ValueTask<TeeReturnCode> registration = partition.RegisterMemoryAsync(slot.Buffer!);
                    if (registration.IsCompletedSuccessfully)
                    {
                        result = TeeResult.FromTee(registration.Result);
                        return true;
                    }

                    slot.Await(ToResult(registration));
                    break;

                default:
                    bool isClosing = slot.Operation == TeeOperation.CloseSession;
                    ValueTask ending = isClosing ? slot.OwnSession!.Backend!.CloseAsync(request)
                        : partition.UnregisterMemoryAsync(slot.Buffer!);
                    if (ending.IsCompletedSuccessfully)
                    {
                        ending.GetAwaiter().GetResult();
                        result = TeeResult.FromTee(TeeReturnCode.Success);
                        return true;
                    }

                    slot.Await(ToResult(ending));
                    break;
            }
        }
        catch (Exception exception)
        {
            result = BackendFailed(slot.Operation, exception);
            return true;
        }

        result = default;
        return false;
    }

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

    /// <summary>Where the operation of a slot runs. Sessions keep the backend's answer from their
    /// opening to their closing.</summary>
    /// <returns><see langword="null"/> if the backend threw, which fails the opening of a session.</returns>
    public TeeExecution? ExecutionOf(CallSlot slot)
    {
        try
        {
            return slot.Operation switch
            {
                TeeOperation.InvokeCommand => slot.Session!.Execution,
                TeeOperation.CloseSession => slot.OwnSession!.Execution,
                TeeOperation.OpenSession =>
                    slot.OwnSession!.Execution = execution.OfApplication(slot.Request.Application),
                _ => execution.Memory,
            };
        }
        catch (Exception exception)
        {
            _ = BackendFailed(slot.Operation, exception);
            return null;
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

    private static async ValueTask<TeeResult> ToResult(ValueTask<TeeReturnCode> operation) =>
        TeeResult.FromTee(await operation);

    private static async ValueTask<TeeResult> ToResult(ValueTask operation)
    {
        await operation;
        return TeeResult.FromTee(TeeReturnCode.Success);
    }
}
