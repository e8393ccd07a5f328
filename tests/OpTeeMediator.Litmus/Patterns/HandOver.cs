using System.Collections.Immutable;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;
using Real = System.Threading.Volatile;

namespace OpTeeMediator.Litmus.Patterns;

/// <summary>One thread writes content and then what leads to it; the other one, which sees the second, must see the
/// first (message passing), and not what is written later (load buffering).</summary>
internal static class HandOver
{
    private const int Nothing = 0;
    private const int Right = 1;
    private const int Wrong = 2;

    private static readonly Func<int, int, bool> SecondIsWrong = static (_, seen) => seen == Wrong;

    /// <summary>A backend's result, and the vCPU that sees that the operation has ended.</summary>
    public static LitmusTest Completion()
    {
        Padding padding = new();
        CallOperation operation = padding.Create<CallOperation>();
        Box<int> output = padding.Create<Box<int>>();
        return new(
            "completion",
            () =>
            {
                output.Value = 0;
                operation.Restore(TeeOperation.InvokeCommand, OperationPhase.Working, default);
            },
            () =>
            {
                output.Value = 1;
                return operation.Complete(TeeResult.CommunicationFailure) ? 1 : 0;
            },
            () => operation.Phase != OperationPhase.Ended ? Nothing
                : output.Value == 1 && operation.Result == TeeResult.CommunicationFailure ? Right : Wrong,
            SecondIsWrong);
    }

    /// <summary>A slot that is released, and the vCPU that takes it next.</summary>
    public static LitmusTest Slot()
    {
        Padding padding = new();
        Box<CallOwnership> ownership = padding.Create<Box<CallOwnership>>();
        Box<int> content = padding.Create<Box<int>>();
        return new(
            "slot",
            () =>
            {
                _ = ownership.Value.TryTake();
                content.Value = 0;
                ownership.Value.BeginRelease();
            },
            () =>
            {
                content.Value = 1;
                ownership.Value.EndRelease();
                return 0;
            },
            () => !ownership.Value.TryTake() ? Nothing : content.Value == 1 ? Right : Wrong,
            SecondIsWrong);
    }

    /// <summary>The last look of a slot's owner, and what the next one writes.</summary>
    public static LitmusTest SlotOfNext()
    {
        Padding padding = new();
        Box<CallOwnership> ownership = padding.Create<Box<CallOwnership>>();
        Box<int> content = padding.Create<Box<int>>();
        return new(
            "slot-of-next",
            () =>
            {
                _ = ownership.Value.TryTake();
                content.Value = 0;
                ownership.Value.BeginRelease();
            },
            () =>
            {
                int seen = content.Value;
                ownership.Value.EndRelease();
                return seen;
            },
            () =>
            {
                if (ownership.Value.TryTake())
                {
                    content.Value = 1;
                }

                return 0;
            },
            static (seen, _) => seen == 1);
    }

    /// <summary>A call that is suspended, and the vCPU that resumes it.</summary>
    public static LitmusTest Resume()
    {
        Padding padding = new();
        Box<CallOwnership> ownership = padding.Create<Box<CallOwnership>>();
        Box<int> content = padding.Create<Box<int>>();
        Box<uint> information = padding.Create<Box<uint>>();
        return new(
            "resume",
            () =>
            {
                // The resume information that the guest will get: the next generation's.
                content.Value = 0;
                ownership.Value.EndRelease();
                information.Value = ownership.Value.Suspend(0) + 0x100;
                ownership.Value.EndRelease();
                _ = ownership.Value.TryTake();
            },
            () =>
            {
                content.Value = 1;
                _ = ownership.Value.Suspend(0);
                return 0;
            },
            () => !ownership.Value.TryResume(information.Value) ? Nothing : content.Value == 1 ? Right : Wrong,
            SecondIsWrong);
    }

    /// <summary>A table that is changed, and a call that looks something up beside it.</summary>
    public static LitmusTest Table()
    {
        Padding padding = new();
        SequenceLock tables = padding.Create<SequenceLock>();
        Box<int> key = padding.Create<Box<int>>();
        Box<int> value = padding.Create<Box<int>>();
        return new(
            "table",
            static () => { },
            () =>
            {
                using (tables.Enter())
                {
                    key.Value++;
                    value.Value++;
                }

                return 0;
            },
            () =>
            {
                int version = tables.Version;
                int foundValue = value.Value;
                int foundKey = key.Value;
                return !tables.IsUnchanged(version) ? Nothing : foundKey == foundValue ? Right : Wrong;
            },
            SecondIsWrong);
    }

    /// <summary>A version that is raised, and a thread that reads it twice (coherence).</summary>
    public static LitmusTest Version()
    {
        SequenceLock tables = new();
        return new(
            "version",
            static () => { },
            () =>
            {
                using (tables.Enter())
                {
                }

                return 0;
            },
            () => tables.Version is var earlier && tables.Version - earlier < 0 ? Wrong : Right,
            SecondIsWrong);
    }

    /// <summary>A page that is pinned and then looked up, and a region that is removed before its pins are.</summary>
    public static LitmusTest Pin()
    {
        Padding padding = new();
        PinSet pins = padding.Create<PinSet>();
        GuestPages pages = padding.Separate(new GuestPages([0x1000]));
        Box<bool> isRemoved = padding.Create<Box<bool>>();
        return new(
            "pin",
            () =>
            {
                isRemoved.Value = false;
                if (pins.Count != 0)
                {
                    _ = pins.Remove(pages);
                }
            },
            () =>
            {
                pins.Add(pages);
                return Real.Read(ref isRemoved.Value) ? 1 : 0;
            },
            () =>
            {
                Real.Write(ref isRemoved.Value, true);
                return pins.Overlaps(new GuestRange(0, 0x1_0000)) ? 1 : 0;
            },
            static (isRemoved, isPinned) => isRemoved == 0 && isPinned == 0);
    }

    /// <summary>A page that is written while it is copied.</summary>
    public static LitmusTest WrittenPage()
    {
        const ulong Start = 0x4000_0000;
        Padding padding = new();
        ImmutableArray<MappedMemoryRegion> regions = [new(new GuestRange(Start, GuestPages.PageSize), 0)];
        WrittenPages written = padding.Separate(new WrittenPages(regions));
        Box<int> content = padding.Create<Box<int>>();
        return new(
            "written-page",
            () =>
            {
                content.Value = 0;
                written.Add(Start, 1);
            },
            () =>
            {
                content.Value = 1;
                written.Add(Start, 1);
                return 0;
            },
            () => written.Take().Count != 0 ? content.Value : -1,

            // The copy is old, and the page is not copied again.
            (_, copied) => copied == 0 && written.Take().Count == 0);
    }
}
