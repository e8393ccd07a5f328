using OpTeeMediator.Calls;
using OpTeeMediator.ExplorationTests.Scheduling;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ExplorationTests;

/// <summary>The core's machines, each with two or three threads that use it as the core does.</summary>
internal static class Scenarios
{
    private static readonly TimeSpan Long = TimeSpan.FromHours(1);

    /// <summary>Two vCPUs begin work while the VM is paused and resumed.</summary>
    public static Scenario Pause()
    {
        VmPause pause = new();
        bool isConfirmed = false;
        int done = 0;
        void Work()
        {
            while (!pause.TryEnter())
            {
                pause.WaitUntilReleased(Long);
            }

            Require(!isConfirmed, "A vCPU works while the VM is paused.");
            Explorer.Reach("work");
            Require(!isConfirmed, "The VM is paused while a vCPU works.");
            done++;
            pause.Exit();
        }

        void PauseAndResume()
        {
            long attempt = pause.Attempt();
            if (!pause.IsQuiet)
            {
                pause.Withdraw(attempt);
                return;
            }

            isConfirmed = pause.TryConfirm(attempt);
            Explorer.Reach("paused");
            isConfirmed = false;
            pause.Resume();
        }

        return new(() => Require(done == 2 && pause.IsQuiet && !pause.IsPaused, "Not at rest."),
            Work, Work, PauseAndResume);
    }

    /// <summary>One attempt to pause succeeds beside others that are withdrawn.</summary>
    public static Scenario PauseTwice()
    {
        VmPause pause = new();
        void Withdraw() => pause.Withdraw(pause.Attempt());
        return new(() => Require(pause.IsPaused, "The pause has gone."),
            () => Require(pause.TryConfirm(pause.Attempt()), "Nobody has resumed the VM."), Withdraw, Withdraw);
    }

    /// <summary>A page is pinned, another one pinned and unpinned, while the region of both is removed.</summary>
    public static Scenario Pins()
    {
        PinSet pins = new();
        bool hasRegion = true;
        bool isPinned = false;
        bool isRemoved = false;
        void Pin(ulong address, bool keep)
        {
            GuestPages pages = new();
            pages.Set(address, 1, null, default);
            pins.Add(pages);
            if (!Volatile.Read(ref hasRegion) || !keep)
            {
                _ = pins.Remove(pages);
                return;
            }

            isPinned = true;
        }

        void RemoveRegion()
        {
            Volatile.Write(ref hasRegion, false);
            isRemoved = !pins.Overlaps(new GuestRange(0, 1 << 20));
        }

        return new(
            () => Require(pins.Count == (isPinned ? 1 : 0) && !(isPinned && isRemoved), "A pinned page has gone."),
            () => Pin(0x1000, keep: true), () => Pin(0x2000, keep: false), RemoveRegion);
    }

    /// <summary>A call looks something up that is removed; the remover waits for the call, then frees it.</summary>
    public static Scenario SequenceLock()
    {
        SequenceLock tables = new();
        int entry = 1;
        int freed = 0;
        int[] slots = new int[2];
        void Call(int slot)
        {
            int version = tables.Version;
            int found = entry;
            Volatile.Write(ref slots[slot], found);
            if (!tables.IsUnchanged(version))
            {
                using SequenceLock.Scope scope = tables.Enter();
                found = entry;
                Volatile.Write(ref slots[slot], found);
            }

            Explorer.Reach("use");
            Require(found == 0 || freed == 0, "A call uses what is freed.");
            Volatile.Write(ref slots[slot], 0);
        }

        void Remove()
        {
            using (tables.Enter())
            {
                entry = 0;
            }

            SpinWait spin = default;
            while (Volatile.Read(ref slots[0]) != 0 || Volatile.Read(ref slots[1]) != 0)
            {
                spin.SpinOnce();
            }

            freed = 1;
        }

        return new(
            () => Require((tables.Version & 1) == 0, "Someone is inside."), () => Call(0), () => Call(1), Remove);
    }

    /// <summary>Two vCPUs resume one suspended call, while it is taken away.</summary>
    public static Scenario Slots()
    {
        CallOwnership ownership = default;
        _ = ownership.TryTake();
        uint information = ownership.Suspend(0);
        int owners = 0;
        void Resume()
        {
            if (ownership.TryResume(information))
            {
                owners++;
            }
        }

        void Abandon()
        {
            if (ownership.IsSuspended(out int word) && ownership.TryAbandon(word))
            {
                owners++;
            }
        }

        return new(() => Require(owners == 1, $"The call has {owners} owners."), Resume, Resume, Abandon);
    }

    /// <summary>A vCPU waits for an operation that ends, while the guest goes.</summary>
    public static Scenario Completion()
    {
        CallOperation operation = new();
        operation.Prepare();
        operation.Begin(isOnWorker: true);
        bool isOrphaned = false;
        bool mustRelease = false;
        return new(
            () => Require(
                operation.Phase == OperationPhase.Ended && isOrphaned == mustRelease, "It is released twice or never."),
            () => Require(operation.WaitWhileWorking(Long), "The wait ended early."),
            () =>
            {
                mustRelease = operation.Complete(default);
                operation.Wake();
            },
            () =>
            {
                isOrphaned = operation.TryOrphan(out _);
                operation.Wake();
            });
    }

    /// <summary>A call begins while the VM is drained: its operation is held, or waited for.</summary>
    public static Scenario Beginning()
    {
        CallOperation operation = new();
        PauseControl pause = new();
        bool isDrained = false;
        void Begin()
        {
            operation.Prepare();
            Interlocked.MemoryBarrier();
            if (pause.HoldsNew)
            {
                operation.Hold();
                return;
            }

            operation.Begin(isOnWorker: false);
            Require(!isDrained, "An operation begins in a VM that is drained.");
            Explorer.Reach("work");
            Require(!isDrained, "A VM is drained while an operation is at its backend.");
            _ = operation.Complete(default);
        }

        void Drain() => isDrained = pause.DrainAsync(
            () =>
            {
                while (!operation.IsDrained)
                {
                    Explorer.Yield();
                }

                return true;
            },
            Long, default).GetAwaiter().GetResult();

        return new(() => Require(isDrained && operation.IsDrained, "It is not drained."), Begin, Drain);
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new InvalidOperationException(otherwise);
        }
    }
}
