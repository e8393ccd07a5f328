using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.ExplorationTests.Scheduling;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.State;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>What a process has of a VM: its yielding calls with their teardown, put together as
/// <see cref="Guests.OpTeeGuest"/> does.</summary>
internal sealed class ExploredProcess : IInterruptLine
{
    private const int Sessions = 4;
    private const int Buffers = 4;

    private static readonly TimeSpan s_long = TimeSpan.FromHours(1);

    private readonly ExploredMemory _memory;
    private readonly ITeePartition _backend;
    private readonly SharedBufferPool _buffers;
    private readonly MemoryBudget _budget = new(Buffers, 16, 4);
    private readonly PauseControl _pause = new();

    public ExploredProcess(
        ExploredMemory memory, ITeePartition backend, int slots, TimeSpan quantum, bool canSleep)
    {
        _memory = memory;
        _backend = backend;
        NonThrowingGuestMemory guestMemory = new(memory, NullLogger.Instance);
        _buffers = new SharedBufferPool(guestMemory, _budget);
        NonThrowingInterruptLine? line = canSleep ? new(this, _pause, NullLogger.Instance) : null;
        CallEnvironment environment = new(
            "vm", guestMemory, null, backend, TeeAccess.All, _buffers, slots, quantum,
            canSleep ? TimeSpan.Zero : Timeout.InfiniteTimeSpan, new NotificationQueue(line), _pause,
            NullLogger.Instance, new CallObserver("vm", null));
        Calls = new YieldingCalls(environment, NewDriverInstance());
        Teardown = new Teardown(Calls, _buffers, NewDriverInstance, "vm", NullLogger.Instance);
    }

    public YieldingCalls Calls { get; }

    public Teardown Teardown { get; }

    int IInterruptLine.Spi => 32;

    /// <summary>Whether the VM has nothing here any more, and no call is left.</summary>
    public bool IsEmpty =>
        _memory.Pinned == 0 && _budget is { Buffers: 0, Pages: 0 } && Teardown.Count == 0
        && Array.TrueForAll(Calls.Slots.All.ToArray(), static slot => slot.State == CallState.Free);

    // The guest's threads look for notifications by themselves.
    void IInterruptLine.Pulse()
    {
    }

    /// <summary>A driver starts again in the guest.</summary>
    public void Restart()
    {
        DriverInstance earlier = Calls.DriverInstance;
        Calls.DriverInstance = Teardown.Next();
        Calls.Notifications.Reset();
        Teardown.Begin(earlier);
    }

    public void Drain() => Require(_pause.DrainAsync(() => Until(() => Calls.AreDrained), s_long, default));

    public void Pause() => Require(_pause.PauseAsync(() => Until(() => Calls.AreQuiet), s_long, default));

    /// <summary>Saves the VM, which is paused.</summary>
    public byte[] Save(bool dropsWhatCannotMove)
    {
        StateSaver saver = new(Calls, _backend, Calls.Enumeration);
        saver.SaveAsync(dropsWhatCannotMove).GetAwaiter().GetResult();
        return saver.Writer.Written.ToArray();
    }

    /// <summary>Takes over a VM that was saved, and resumes it.</summary>
    public void Restore(byte[] state)
    {
        _ = _pause.TryConfirm(_pause.Attempt());
        StateReader reader = new(state);
        StateLoader loader = new(Calls, _backend, _buffers, Calls.Enumeration);
        loader.LoadAsync(reader, Sessions, Buffers).GetAwaiter().GetResult();
        reader.End();
        _pause.Resume();
    }

    /// <summary>The VM is destroyed here.</summary>
    public void Dispose()
    {
        DriverInstance last = Calls.DriverInstance;
        _pause.BeginEnding();
        Teardown.Begin(last);
        _pause.Release();
        _ = last.WaitUntilFreed(s_long);
        Teardown.Stop();
        Calls.StopWorkers();
    }

    private static DriverInstance NewDriverInstance() => new(Sessions, Buffers);

    // Time stands still, so nothing may wait for a timer.
    private static bool Until(Func<bool> condition)
    {
        while (!condition())
        {
            Explorer.Yield();
        }

        return true;
    }

    private static void Require(Task<bool> reached)
    {
        if (!reached.GetAwaiter().GetResult())
        {
            Explorer.Fail("The VM was not paused.");
        }
    }
}
