using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>Performs operations at the backend. Thread-safe: a call belongs to the thread that performs it.</summary>
internal sealed class CallPerformer(ITeePartition partition, BackendOperations backend)
{
    private readonly TeeExecutionPolicy _execution = partition.Execution;

    /// <summary>Where the operation of a slot runs; <see langword="null"/> if the backend threw, which fails the
    /// opening of a session. Sessions keep the backend's answer from their opening to their closing.</summary>
    public TeeExecution? ExecutionOf(CallSlot slot)
    {
        try
        {
            return slot.Operation.Kind switch
            {
                TeeOperation.InvokeCommand => slot.Session!.Execution,
                TeeOperation.CloseSession => slot.OwnSession!.Execution,
                TeeOperation.OpenSession =>
                    slot.OwnSession!.Execution = _execution.OfApplication(slot.Request.Application),
                _ => _execution.Memory,
            };
        }
        catch (Exception exception)
        {
            _ = backend.BackendFailed(slot.Operation.Kind, exception);
            return null;
        }
    }

    /// <summary>Performs the operation. Unless it has ended, <see cref="CallSlot.Complete"/> tells.</summary>
    /// <remarks>Each operation looks at its own ValueTask: one that is handed on costs as much as the rest of the way
    /// to an inline backend, because the processor cannot forward its small fields to one wide copy.</remarks>
    public bool TryPerform(CallSlot slot, out TeeResult result)
    {
        TeeRequest request = slot.Request;
        try
        {
            switch (slot.Operation.Kind)
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
                    bool isClosing = slot.Operation.Kind == TeeOperation.CloseSession;
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
            result = backend.BackendFailed(slot.Operation.Kind, exception);
            return true;
        }

        result = default;
        return false;
    }

    private static async ValueTask<TeeResult> ToResult(ValueTask<TeeReturnCode> operation) =>
        TeeResult.FromTee(await operation);

    private static async ValueTask<TeeResult> ToResult(ValueTask operation)
    {
        await operation;
        return TeeResult.FromTee(TeeReturnCode.Success);
    }
}
