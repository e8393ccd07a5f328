using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Calls;

/// <summary>Ends a VM's earlier drivers: their calls, then their sessions, then their memory.</summary>
/// <remarks>
/// <para>Nothing is freed that a call still uses: the calls are asked to end and waited for, however long that takes,
/// on a thread of its own. A driver whose calls have ended does not wait for one whose calls have not.</para>
/// <para>A guest decides how often this happens: so the thread is one, the tables are used again, and nothing is
/// allocated. Thread-safe.</para>
/// </remarks>
internal sealed class Teardown
{
    private readonly YieldingCalls _calls;
    private readonly SharedBufferPool _buffers;
    private readonly ILogger _log;
    private readonly LogRateLimit _failures = new();
    private readonly Func<DriverInstance> _create;
    private readonly AbsentGuest _absent;
    private readonly TeeRequest _closing;
    private readonly Lock _lock = new();
    private readonly Lock _running = new();
    private readonly List<DriverInstance> _pending = [];
    private readonly Stack<DriverInstance> _free = [];
    private readonly OnDemandThread _thread;
    private TaskCompletionSource? _allEnded;

    public Teardown(
        YieldingCalls calls, SharedBufferPool buffers, Func<DriverInstance> create, string name, ILogger log)
    {
        _calls = calls;
        _absent = new AbsentGuest(calls.Pause);
        _closing = new TeeRequest { Operation = TeeOperation.CloseSession, Guest = _absent };
        _ = _closing.RequestTermination();
        _buffers = buffers;
        _create = create;
        _log = log;
        _thread = new OnDemandThread(Run, $"optee {name}/end", OnDemandThread.DefaultIdleTime);
    }

    /// <summary>How many drivers are not torn down yet.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _pending.Count;
            }
        }
    }

    public DriverInstance Next()
    {
        DriverInstance? next;
        lock (_lock)
        {
            _ = _free.TryPop(out next);
        }

        next?.Reuse();
        return next ?? _create();
    }

    /// <summary>Begins to end a driver: it takes no calls; see <see cref="DriverInstance.WaitUntilFreed"/>.</summary>
    public void Begin(DriverInstance driverInstance)
    {
        driverInstance.Retire();
        foreach (CallSlot slot in _calls.Slots.All)
        {
            slot.TryCancel(driverInstance);
            slot.TryAbandon(driverInstance);
        }

        lock (_lock)
        {
            _pending.Add(driverInstance);
        }

        StartThread();

        // The thread may be waiting for the calls of an earlier driver.
        _calls.Slots.WakeWaiters();
    }

    /// <summary>Waits until no driver is left that has begun to end.</summary>
    public Task WhenAllEnded()
    {
        lock (_lock)
        {
            if (_pending.Count == 0)
            {
                return Task.CompletedTask;
            }

            _allEnded ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _allEnded.Task;
        }
    }

    /// <summary>Ends the thread, once no driver is left that has begun to end.</summary>
    public void Stop() => _thread.Stop();

    // Without a thread of its own the teardown must go on all the same: a pool's thread waits for the calls then.
    private void StartThread()
    {
        try
        {
            _thread.Reserve();
        }
        catch (OutOfMemoryException)
        {
            _ = ThreadPool.UnsafeQueueUserWorkItem(static self => self.Run(), this, preferLocal: false);
            return;
        }

        _thread.Post();
    }

    private void Run()
    {
        lock (_running)
        {
            while (Count > 0)
            {
                _ = _calls.Slots.WaitUntil(static (_, self) => self.FindReady() is not null, this,
                    Timeout.InfiniteTimeSpan);
                if (FindReady() is { } driverInstance)
                {
                    Clear(driverInstance);
                    End(driverInstance);
                }
            }
        }
    }

    private DriverInstance? FindReady()
    {
        lock (_lock)
        {
            foreach (DriverInstance driverInstance in _pending)
            {
                if (_calls.Slots.CountOf(driverInstance) == 0)
                {
                    return driverInstance;
                }
            }

            return null;
        }
    }

    // One backend failure must not keep the rest from being freed. While the VM is paused, nothing is.
    private void Clear(DriverInstance driverInstance)
    {
        _absent.DriverInstance = driverInstance;
        Exception? failure = null;
        while (driverInstance.Sessions.FindAny() is { } session)
        {
            if (session.Backend is { } backend)
            {
                _calls.Pause.Enter(driverInstance);
                Exception? exception = BackendOperations.CloseAndWait(backend, _closing);
                _calls.Pause.Exit();
                failure ??= exception;
            }

            using (driverInstance.TablesLock.Enter())
            {
                driverInstance.Sessions.Remove(session);
            }
        }

        while (TakeAnyBuffer(driverInstance) is { } buffer)
        {
            // The TEE may have refused a buffer of a restored VM, or the state before it was told of it.
            if (buffer.IsKnownToTee)
            {
                _calls.Pause.Enter(driverInstance);
                Exception? exception = _calls.Operations.UnregisterAndWait(buffer);
                _calls.Pause.Exit();
                failure ??= exception;
            }

            _buffers.Return(buffer);
        }

        if (failure is not null && _failures.TryPass(out long suppressed))
        {
            _log.TeardownFailed(suppressed, failure);
        }
    }

    private void End(DriverInstance driverInstance)
    {
        TaskCompletionSource? allEnded = null;
        lock (_lock)
        {
            _ = _pending.Remove(driverInstance);
            driverInstance.NotifyFreed();
            _free.Push(driverInstance);
            if (_pending.Count == 0)
            {
                allEnded = _allEnded;
                _allEnded = null;
            }
        }

        allEnded?.SetResult();
    }

    private static SharedBuffer? TakeAnyBuffer(DriverInstance driverInstance)
    {
        using SequenceLock.Scope scope = driverInstance.TablesLock.Enter();
        return driverInstance.Memory.RemoveAny();
    }
}
