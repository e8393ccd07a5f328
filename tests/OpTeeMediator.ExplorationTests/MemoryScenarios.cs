using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.ExplorationTests.Machines;
using OpTeeMediator.ExplorationTests.Scheduling;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.ExplorationTests;

/// <summary>The guest's buffers: the pool that makes them, and the forwarder's cookies of them.</summary>
internal static class MemoryScenarios
{
    /// <summary>Three threads each take two buffers of a pool that may have four, and give them back.</summary>
    public static Scenario BufferPool()
    {
        ExploredMemory memory = new();
        MemoryBudget budget = new(4, 8, 2);
        SharedBufferPool pool = new(new NonThrowingGuestMemory(memory, NullLogger.Instance), budget);
        HashSet<SharedBuffer> held = [];
        Dictionary<int, SharedBuffer> ids = [];
        void Use(ulong page)
        {
            for (ulong cookie = 1; cookie <= 2; cookie++)
            {
                TeeReturnCode code = pool.TryCreateContiguous(page, 16 * cookie, cookie, out SharedBuffer? buffer);
                if (code != TeeReturnCode.Success)
                {
                    Explorer.Fail($"There must be a buffer: {code}.");
                }

                bool isOwn = held.Add(buffer!) && ids.TryAdd(buffer!.Id, buffer) | ids[buffer.Id] == buffer;
                Explorer.Reach("use");
                if (!isOwn || buffer!.Size != 16 * cookie || buffer.Pages[0].Value != page)
                {
                    Explorer.Fail("Two have the same buffer.");
                }

                _ = held.Remove(buffer!);
                pool.Return(buffer!);
            }
        }

        ulong Page(int index) => ExploredMemory.Start + ((ulong)index * GuestPages.PageSize);
        return new(
            () => Require(memory.Pinned == 0 && budget is { Buffers: 0, Pages: 0 }, "Something is left."),
            () => Use(Page(0)), () => Use(Page(1)), () => Use(Page(2)));
    }

    /// <summary>A vCPU translates a guest's cookie while a second makes its buffer that of another cookie, and a third
    /// unregisters and registers the first one again.</summary>
    public static Scenario Cookies()
    {
        const ulong First = 0x10;
        const ulong Second = 0x20;
        ExploredMemory memory = new();
        MemoryBudget budget = new(4, 8, 2);
        SharedMemoryRegistry registry =
            new(new SharedBufferPool(new NonThrowingGuestMemory(memory, NullLogger.Instance), budget), 2);

        // What OP-TEE was given: its cookies never mean two buffers.
        Dictionary<ulong, ulong> guestCookies = [];
        int removals = 0;
        int registrations = 0;
        void Register(ulong cookie)
        {
            if (registry.TryEnterContiguous(
                ExploredMemory.Start, 16, cookie, BufferRole.Registered, out SharedBuffer? buffer)
                != TeeReturnCode.Success)
            {
                // It is registered still.
                return;
            }

            registrations++;
            if (!guestCookies.TryAdd(buffer!.TeeCookie, cookie))
            {
                Explorer.Fail("OP-TEE has a cookie twice.");
            }

            registry.MakeUsable(buffer);
        }

        void Unregister()
        {
            if (registry.MakeUnusable(First) is { } buffer)
            {
                Explorer.Reach("OP-TEE releases it");
                registry.Remove(buffer);
                removals++;
            }
        }

        void Translate()
        {
            for (int round = 0; round < 2; round++)
            {
                if (registry.TryTranslate(First, out ulong teeCookie)
                    && guestCookies.GetValueOrDefault(teeCookie) != First)
                {
                    Explorer.Fail("A cookie became that of another buffer.");
                }
            }
        }

        void Replace(ulong cookie)
        {
            Unregister();
            Register(cookie);
        }

        Register(First);
        return new(
            () => Require(
                registry.Count == registrations - removals && memory.Pinned == registry.Count
                && budget.Buffers == registry.Count,
                "A buffer is lost, or left."),
            Translate, () => Replace(Second), () => Replace(First));
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new InvalidOperationException(otherwise);
        }
    }
}
