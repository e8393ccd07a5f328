using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>The operation that a session runs: request, cancellation, thread, calls to the guest.</summary>
/// <param name="context">The operation's thread; <see langword="null"/> for inline operations.</param>
/// <param name="queue">Where the operation waits for time.</param>
/// <param name="cancellations">The tokens of the partition's operations.</param>
/// <param name="application">The application that runs it.</param>
/// <param name="directory">The other applications.</param>
internal sealed class RunningOperation(
    OperationContext? context,
    EntryLockQueue queue,
    RunningCancellations cancellations,
    Guid application,
    IApplicationDirectory directory) : IGuestOperation
{
    private readonly OperationCancellation _cancellation = new();
    private TeeRequest? _root;
    private bool _hasToken;

    /// <summary>The request; <see langword="null"/> if no operation runs.</summary>
    public TeeRequest? Request => _cancellation.Request;

    /// <summary>Counts operations, so that what belongs to an earlier one is told apart.</summary>
    public int Number { get; private set; }

    public bool IsCancellationRequested => _cancellation.IsRequested;

    /// <summary>A token that is cancelled when <see cref="IsCancellationRequested"/> becomes true.</summary>
    public CancellationToken CancellationToken
    {
        get
        {
            if (Request is not { } request)
            {
                return CancellationToken.None;
            }

            _hasToken = true;
            return cancellations.TokenOf(request, _cancellation);
        }
    }

    /// <summary>The calls to the guest.</summary>
    /// <exception cref="InvalidOperationException">None runs, it is inline, or this is not its thread.</exception>
    public GuestServices Guest
    {
        get
        {
            ThrowUnlessOnWorker();
            return Request?.Guest
                ?? throw new InvalidOperationException(
                    "The guest can be called only while an entry point of the session runs.");
        }
    }

    /// <summary>Begins an operation; cancellations are masked.</summary>
    /// <param name="request">The operation.</param>
    /// <param name="root">The guest's operation for which it is made, or itself.</param>
    public void Begin(TeeRequest request, TeeRequest root)
    {
        _root = root;
        _cancellation.IsUnmasked = false;
        _cancellation.Request = request;
    }

    /// <summary>Ends the current operation, if there is one.</summary>
    public void End()
    {
        if (_hasToken)
        {
            _hasToken = false;
            cancellations.Remove(Request!);
        }

        _cancellation.Request = null;
        Number++;
    }

    /// <summary>Lets the client's cancellation take effect, or not.</summary>
    public bool SetMask(bool isMasked)
    {
        bool wasMasked = !_cancellation.IsUnmasked;
        _cancellation.IsUnmasked = !isMasked;
        if (!isMasked && _hasToken)
        {
            cancellations.CancelRequested();
        }

        return wasMasked;
    }

    /// <summary>Blocks the operation's thread for a time.</summary>
    public bool Wait(TimeSpan time, CancellationToken cancellationToken)
    {
        ThrowUnlessOnWorker();
        using CancellationTokenRegistration wakes =
            cancellationToken.UnsafeRegister(static queue => ((EntryLockQueue)queue!).Wake(), queue);
        return queue.Sleep(time, _cancellation, Request?.Guest, cancellationToken);
    }

    /// <summary>Makes an operation of another application, on this thread.</summary>
    /// <param name="operation">Which one.</param>
    /// <param name="target">The other application, if a session is to be opened.</param>
    /// <param name="session">The session; receives the one that was opened.</param>
    /// <param name="command">The command, if one is to be invoked.</param>
    /// <param name="parameters">Up to four parameters, which receive the outputs.</param>
    /// <param name="timeout">After this time it is cancelled.</param>
    public TeeResult CallApplication(
        TeeOperation operation,
        Guid target,
        ref ITeeSession? session,
        uint command,
        Span<TeeParameter> parameters,
        TimeSpan timeout)
    {
        ThrowUnlessOnWorker();
        TeeRequest outer = Request
            ?? throw new InvalidOperationException(
                "Other applications can be called only while an entry point of the session runs.");
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            // Applications that open each other in a circle, with an instance for each session.
            return TeeResult.FromTee(TeeReturnCode.OutOfMemory);
        }

        TeeRequest inner = new(parameters)
        {
            Operation = operation,
            Application = target,
            Client = new ClientIdentity(TeeLogin.TrustedApplication, application),
            CommandId = command,
            Guest = outer.Guest,
            Outer = _cancellation,
        };
        using Timer? deadline = timeout == Timeout.InfiniteTimeSpan
            ? null
            : new Timer(CancelLate, inner, timeout, Timeout.InfiniteTimeSpan);
        TeeResult result = TeeResult.Success;
        switch (operation)
        {
            case TeeOperation.OpenSession:
                result = Wait(directory.OpenSessionAsync(inner, _root!));
                session = result.IsSuccess ? inner.Session : null;
                break;

            case TeeOperation.InvokeCommand:
                result = Wait(directory.InvokeCommandAsync(session!, inner, _root!));
                break;

            default:
                ValueTask closing = directory.CloseAsync(session!, inner, _root!);
                closing.AsTask().GetAwaiter().GetResult();
                break;
        }

        inner.Parameters[..parameters.Length].CopyTo(parameters);
        return result;
    }

    /// <summary>Does work on the operation's thread: at once on that thread, else when it waits.</summary>
    public ValueTask<TResult> RunAsync<TState, TResult>(TState state, Func<TState, TResult> work) =>
        context is null or { IsCurrent: true } ? new(work(state)) : new(context.RunAsync(state, work));

    // Only the built-in generator may still be running then, on the thread pool.
    private static TeeResult Wait(ValueTask<TeeResult> running) =>
        running.IsCompleted ? running.GetAwaiter().GetResult() : running.AsTask().GetAwaiter().GetResult();

    private void CancelLate(object? request)
    {
        _ = ((TeeRequest)request!).RequestCancellation();
        cancellations.CancelRequested();
        queue.Wake();
    }

    private void ThrowUnlessOnWorker()
    {
        if (context is null)
        {
            throw new InvalidOperationException(
                "An inline application may not wait, for its guest, other applications or time; declare Execution = "
                + $"{nameof(TeeExecution.Worker)}.");
        }

        if (Request is not null && !context.IsCurrent)
        {
            throw new InvalidOperationException(
                "Only the thread of the operation may block, for the guest or for time; an await returns to it unless "
                + "it is followed by ConfigureAwait(false), after which the asynchronous methods serve.");
        }
    }
}
