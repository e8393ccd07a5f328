using System.Runtime.ExceptionServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>Continues an asynchronous entry point after an await on the thread of its operation.</summary>
/// <remarks>
/// One for each session, which runs one entry point at a time. That thread waits here for the entry point to end, so
/// that an application may block in every part of it without blocking a thread of the pool. Thread-safe.
/// </remarks>
internal sealed class OperationContext : SynchronizationContext
{
    private readonly object _monitor = new();
    private readonly Queue<(SendOrPostCallback Callback, object? State)> _posted = [];
    private readonly Action _wake;
    private volatile Thread? _thread;

    public OperationContext() => _wake = Wake;

    /// <summary>Whether the caller runs on the operation's thread.</summary>
    public bool IsCurrent => Thread.CurrentThread == _thread;

    /// <summary>Makes this thread the one that the operation runs on.</summary>
    public SynchronizationContext? Enter()
    {
        SynchronizationContext? previous = Current;
        _thread = Thread.CurrentThread;
        SetSynchronizationContext(this);
        return previous;
    }

    /// <summary>The operation has ended. What the application did not await continues on the thread pool.</summary>
    public void Exit(SynchronizationContext? previous)
    {
        SetSynchronizationContext(previous);
        lock (_monitor)
        {
            _thread = null;
            while (_posted.TryDequeue(out (SendOrPostCallback Callback, object? State) left))
            {
                base.Post(left.Callback, left.State);
            }
        }
    }

    /// <summary>Runs on this thread what a task has to do here, until the task has ended.</summary>
    /// <exception cref="Exception">
    /// What something has thrown that no task has caught, as in an <see langword="async"/> method without a result.
    /// </exception>
    public void RunUntilEnd(Task task, GuestServices? guest)
    {
        ExceptionDispatchInfo? thrown = null;
        task.ConfigureAwait(false).GetAwaiter().UnsafeOnCompleted(_wake);
        while (TryTake(task, guest, out (SendOrPostCallback Callback, object? State) posted))
        {
            try
            {
                posted.Callback(posted.State);
            }
            catch (Exception exception)
            {
                thrown ??= ExceptionDispatchInfo.Capture(exception);
            }
        }

        thrown?.Throw();
    }

    /// <summary>Does work on the operation's thread when that waits; on the thread pool after the operation.</summary>
    public Task<TResult> RunAsync<TState, TResult>(TState state, Func<TState, TResult> work)
    {
        TaskCompletionSource<TResult> done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(
            _ =>
            {
                try
                {
                    done.SetResult(work(state));
                }
                catch (Exception exception)
                {
                    done.SetException(exception);
                }
            },
            null);
        return done.Task;
    }

    public override void Post(SendOrPostCallback d, object? state)
    {
        lock (_monitor)
        {
            if (_thread is not null)
            {
                _posted.Enqueue((d, state));
                Monitor.PulseAll(_monitor);
                return;
            }
        }

        base.Post(d, state);
    }

    /// <exception cref="NotSupportedException">Always, on another thread: it would block that one.</exception>
    public override void Send(SendOrPostCallback d, object? state)
    {
        if (!IsCurrent)
        {
            throw new NotSupportedException("A trusted application's context takes posts only.");
        }

        d(state);
    }

    public override SynchronizationContext CreateCopy() => this;

    private bool TryTake(Task task, GuestServices? guest, out (SendOrPostCallback Callback, object? State) posted)
    {
        while (true)
        {
            lock (_monitor)
            {
                if (_posted.TryDequeue(out posted))
                {
                    return true;
                }

                if (task.IsCompleted)
                {
                    return false;
                }
            }

            guest?.BeginWait();
            lock (_monitor)
            {
                while (_posted.Count == 0 && !task.IsCompleted)
                {
                    _ = Monitor.Wait(_monitor);
                }
            }

            guest?.EndWait();
        }
    }

    private void Wake()
    {
        lock (_monitor)
        {
            Monitor.PulseAll(_monitor);
        }
    }
}
