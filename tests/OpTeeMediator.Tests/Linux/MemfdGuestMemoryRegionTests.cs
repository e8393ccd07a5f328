using System.Globalization;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using static OpTeeMediator.Tests.Linux.TwoRegions;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Guest memory in memory files. Regions that are added and removed, and pages that are pinned or discarded.</summary>
[TestFixture]
public sealed class MemfdGuestMemoryRegionTests
{
    [Test]
    public void Create_HugePages_GranuleIsTheirSize()
    {
        const int TwoMebibytes = 2 << 20;
        using MemfdGuestMemory memory = CreateHuge(TwoMebibytes);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(memory.MappingGranule, Is.EqualTo(TwoMebibytes));
            Assert.That(memory.TryWrite(Start + TwoMebibytes - 4, 1), Is.True);
            Assert.That(memory.TryDiscard(new GuestRange(Start, 0x1000)), Is.False);
            Assert.That(memory.TryDiscard(new GuestRange(Start, TwoMebibytes)), Is.True);
        }
    }

    [TestCase(Start, 0UL)]
    [TestCase(Start + 1, Size)]
    [TestCase(Start, Size - 1)]
    [TestCase(0UL, MemfdGuestMemory.MaximumRegionLength + Size)]
    public void Create_RegionEmptyMisalignedOrHuge_Throws(ulong start, ulong length) =>
        Assert.That(() => MemfdGuestMemory.Create(new GuestRange(start, length)),
            Throws.ArgumentException.With.Message.Contains(length.ToString(CultureInfo.InvariantCulture)));

    [Test]
    public void Create_Overlap_ThrowsAndNamesBoth() =>
        Assert.That(
            () => MemfdGuestMemory.Create(First, new GuestRange(Start - Size, 2 * Size)),
            Throws.ArgumentException.With.Message.Contains(First.ToString()).And.Message.Contains("0x3fff0000"));

    [Test]
    public void Create_TooManyRegions_Throws()
    {
        GuestRange[] regions = [.. Enumerable.Range(0, MemfdGuestMemory.MaximumRegions + 1)
            .Select(index => new GuestRange((ulong)index * Size, Size))];

        Assert.That(() => MemfdGuestMemory.Create(regions), Throws.ArgumentException.With.Message.Contains("64"));
    }

    [Test]
    public void Create_HugePageSizeNoPowerOfTwo_Throws() =>
        Assert.That(() => MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { HugePageSize = 3 << 20 }, First),
            Throws.ArgumentException.With.Message.Contains("power of two"));

    [Test]
    public void Create_NameOf249Bytes_IsTaken() =>
        Assert.That(() => MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { Name = new string('x', 249) }, First)
            .Dispose(), Throws.Nothing);

    [Test]
    public void Create_NameTooLong_Throws() =>
        Assert.That(
            () =>
                MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { Name = new string('x', 248) + "\u00e4" }, First),
            Throws.ArgumentException.With.Message.Contains("250 bytes"));

    [TestCase(null)]
    [TestCase("guest\0ram")]
    public void Create_NameThatIsNone_Throws(string? name) =>
        Assert.That(() => MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { Name = name! }, First),
            Throws.InstanceOf<ArgumentException>().With.Message.Contains("Name"));

    [Test]
    public void Create_LoggerFactoryNull_Throws() =>
        Assert.That(
            () => MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = null! }, First),
            Throws.ArgumentNullException.With.Message.Contains("LoggerFactory"));

    // 128 TiB of addresses are 128 rounds of the first case, and half as many of the second if nothing is used again.
    [TestCase(0ul)]
    [TestCase(1ul)]
    public void AddAndRemoveRegion_OneTebibyteAgainAndAgain_AddressesAreUsedAgain(ulong growth)
    {
        const int Rounds = 1000;
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        for (ulong round = 0; round < Rounds; round++)
        {
            GuestRange module = new(1UL << 41, (1UL << 40) + (round * growth * Size));
            _ = memory.AddRegion(module);
            Assert.That(memory.TryWrite(module.End.Value - 8, 0x1234_5678_9abc_def0ul), Is.True);
            Assert.That(memory.RemoveRegion(module.Start), Is.True);
        }

        _ = memory.AddRegion(new GuestRange(1UL << 41, 1UL << 40));
        Assert.That((memory.TryRead((1UL << 41) + (1UL << 40) - 8, out ulong value), value), Is.EqualTo((true, 0ul)),
            "an added region is all zero");
    }

    [Test]
    public void RemoveRegion_ACompanionHasMappedIt_IsRefusedUntilThatEnds()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        IDisposable hold = memory.Hold(out _);
        IDisposable second = memory.Hold(out _);

        Assert.That(() => memory.RemoveRegion(Next.Start),
            Throws.InvalidOperationException.With.Message.Contains(Next.ToString()));
        hold.Dispose();
        hold.Dispose();
        Assert.That(() => memory.RemoveRegion(Next.Start), Throws.InvalidOperationException);
        Assert.That(memory.TryWrite(Next.Start, 1ul), Is.True, "nothing has changed");
        second.Dispose();
        Assert.That(memory.RemoveRegion(Next.Start), Is.True);
    }

    [Test]
    public void Dispose_ACompanionHasMappedARegion_IsUnmappedWhenThatEnds()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        Span<byte> window = memory.TryGetWindow(First.Start, 8, out Span<byte> found) ? found : [];
        using (memory.Hold(out _))
        {
            window[0] = 0x5a;
            memory.Dispose();

            Assert.That(window[0], Is.EqualTo(0x5a));
        }
    }

    [Test]
    public void Regions_AnyOrder_AreSorted()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Apart, First, Next);

        Assert.That(memory.Regions.Select(region => region.Range), Is.EqualTo([First, Next, Apart]));
    }

    [Test]
    public void TryPin_WithinRegions_IsTrue()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        GuestPages pages = new([Start + Size - 0x1000, Start + Size, Start]);

        Assert.That(memory.TryPin(pages), Is.True);
        memory.Unpin(pages);
    }

    [Test]
    public void TryPin_OnePageOutside_PinsNothing()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        GuestPages pages = new([Start, Start + Size]);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(memory.TryPin(pages), Is.False);
            Assert.That(memory.TryDiscard(First), Is.True);
            Assert.That(memory.TryPin(new GuestPages([Start])), Is.True);
        }
    }

    [Test]
    public void TryDiscard_NotPinned_ReadsAsZero()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        Assert.That(memory.TryWrite(Start + Size - 4, ulong.MaxValue), Is.True);

        Assert.That(memory.TryDiscard(new GuestRange(Start, 2 * Size)), Is.True);
        Assert.That(memory.TryRead(Start + Size - 4, out ulong value), Is.True);
        Assert.That(value, Is.Zero);
    }

    [Test]
    public void TryDiscard_PinnedPageInside_RefusesUntilUnpinned()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        GuestPages pages = new([Start + 0x3000]);
        Assert.That(memory.TryWrite(Start + 0x3000, 5), Is.True);
        Assert.That(memory.TryPin(pages), Is.True);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(memory.TryDiscard(First), Is.False);
            Assert.That(memory.TryRead(Start + 0x3000, out int kept), Is.True);
            Assert.That(kept, Is.EqualTo(5));
            memory.Unpin(pages);
            Assert.That(memory.TryDiscard(First), Is.True);
        }
    }

    [TestCase(Start, 0UL)]
    [TestCase(Start + 1, Size)]
    [TestCase(Start, Size - 1)]
    [TestCase(Start, 3 * Size)]
    [TestCase(Start - Size, Size)]
    public void TryDiscard_NotWholePagesOfRam_AnswersFalse(ulong start, ulong length)
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);

        Assert.That(memory.TryDiscard(new GuestRange(start, length)), Is.False);
    }

    [Test]
    public void AddRegion_AtRunTime_IsGuestRam()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        MemfdRegion added = memory.AddRegion(Next);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(added, Is.EqualTo(memory.Regions[1]));
            Assert.That(memory.TryWrite(Start + Size - 4, 1UL), Is.True);
        }
    }

    [Test]
    public void RemoveRegion_NotPinned_IsNoRamAndItsWindowIsHarmless()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        Assert.That(memory.TryWrite(Next.Start, 1), Is.True);
        Assert.That(memory.TryGetWindow(Next.Start, 16, out Span<byte> window), Is.True);

        bool isFree = memory.RemoveRegion(Next.Start);
        byte late = window[0];
        window[0] = 3;

        using (Assert.EnterMultipleScope())
        {
            Assert.That(isFree, Is.True);
            Assert.That(late, Is.Zero);
            Assert.That(memory.TryRead(Next.Start, out int _), Is.False);
            Assert.That(memory.TryRead(First.Start, out int _), Is.True);
            Assert.That(memory.Regions, Has.Length.EqualTo(1));
        }
    }

    [Test]
    public void RemoveRegion_Pinned_MemoryStaysUntilLastUnpin()
    {
        ListLoggerFactory log = new();
        using MemfdGuestMemory memory =
            MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = log }, First, Next);
        GuestPages one = new([Next.Start.Value]);
        GuestPages other = new([Next.Start.Value, Next.Start.Value + 0x2000]);
        Assert.That(memory.TryWrite(Next.Start, 0x77), Is.True);
        Assert.That(memory.TryPin(one) && memory.TryPin(other), Is.True);
        Assert.That(memory.TryGetWindow(Next.Start, 4, out Span<byte> window), Is.True);

        bool isFree = memory.RemoveRegion(Next.Start);
        bool isRam = memory.TryRead(Next.Start, out int _);
        byte pinned = window[0];
        memory.Unpin(one);
        byte stillPinned = window[0];
        memory.Unpin(other);
        byte unpinned = window[0];

        using (Assert.EnterMultipleScope())
        {
            Assert.That(isFree, Is.False);
            Assert.That(isRam, Is.False);
            Assert.That(pinned, Is.EqualTo(0x77));
            Assert.That(stillPinned, Is.EqualTo(0x77));
            Assert.That(unpinned, Is.Zero);
            Assert.That(log.EventIds, Is.EqualTo([2001]));
        }
    }

    [Test]
    public void RemoveRegion_PinnedPagesOfAnotherRegion_IsFreeAtOnce()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        Assert.That(memory.TryPin(new GuestPages([Start])), Is.True);

        Assert.That(memory.RemoveRegion(Next.Start), Is.True);
    }

    [Test]
    public void RemoveRegion_UnknownStart_Throws()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(() => memory.RemoveRegion(Start + 0x1000),
            Throws.ArgumentException.With.Message.Contains("0x40001000"));
    }

    [Test]
    public void AddRegion_WhereARemovedOneIsStillPinned_ThrowsUntilUnpinned()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        GuestPages pages = new([Next.Start.Value]);
        Assert.That(memory.TryPin(pages), Is.True);
        Assert.That(memory.RemoveRegion(Next.Start), Is.False);

        Assert.That(() => memory.AddRegion(Next), Throws.ArgumentException.With.Message.Contains("still shared"));
        memory.Unpin(pages);
        Assert.That(() => memory.AddRegion(Next), Throws.Nothing);
    }

    [Test]
    public void Dispose_Pinned_UnmapsWithLastUnpinAndLogs()
    {
        ListLoggerFactory log = new();
        MemfdGuestMemory memory = MemfdGuestMemory.Create(
            new MemfdGuestMemoryOptions { LoggerFactory = log, Name = "deferred-unmap" }, First, Next);
        GuestPages pages = new([Start]);
        Assert.That(memory.TryPin(pages), Is.True);

        memory.Dispose();
        int mappedWhilePinned = CountMappings("deferred-unmap");
        bool isRam = memory.TryRead(Start, out int _);
        memory.Unpin(pages);
        int mappedAfterwards = CountMappings("deferred-unmap");

        using (Assert.EnterMultipleScope())
        {
            Assert.That(isRam, Is.False);
            Assert.That(mappedWhilePinned, Is.EqualTo(1));
            Assert.That(mappedAfterwards, Is.Zero);
            Assert.That(log.EventIds, Is.EqualTo([2000]));
        }
    }

    [Test]
    public void Dispose_NotPinned_UnmapsEverything()
    {
        MemfdGuestMemory memory =
            MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { Name = "plain-unmap" }, First, Apart);
        int before = CountMappings("plain-unmap");
        memory.Dispose();
        memory.Dispose();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(before, Is.EqualTo(2));
            Assert.That(CountMappings("plain-unmap"), Is.Zero);
            Assert.That(memory.TryPin(new GuestPages([Start])), Is.False);
            Assert.That(() => memory.AddRegion(Next), Throws.InstanceOf<ObjectDisposedException>());
        }
    }

    [Test]
    public void AddAndRemoveRegion_WhileAnotherThreadReadsAndPins_NothingBreaks()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        using CancellationTokenSource end = new(TimeSpan.FromMilliseconds(200));
        Thread user = new(() => PinUntil(memory, end.Token));
        user.Start();
        int rounds = ChangeRegionsUntil(memory, end.Token);
        user.Join();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(rounds, Is.Positive);
            Assert.That(memory.TryDiscard(First), Is.True);
        }
    }

    private static int CountMappings(string name) =>
        File.ReadLines("/proc/self/maps").Count(line => line.Contains(name, StringComparison.Ordinal));

    private static void PinUntil(MemfdGuestMemory memory, CancellationToken end)
    {
        GuestPages pages = new([Next.Start.Value, Start]);
        while (!end.IsCancellationRequested)
        {
            if (memory.TryPin(pages))
            {
                _ = memory.TryRead(Next.Start, out ulong _);
                memory.Unpin(pages);
            }
        }
    }

    private static int ChangeRegionsUntil(MemfdGuestMemory memory, CancellationToken end)
    {
        int rounds = 0;
        while (!end.IsCancellationRequested)
        {
            _ = memory.AddRegion(Next);
            _ = memory.TryDiscard(Next);
            bool isFree = memory.RemoveRegion(Next.Start);

            // A deferred removal ends with the other thread's Unpin, at once.
            _ = SpinWait.SpinUntil(() => isFree || CanAdd(memory), TimeSpan.FromSeconds(5));
            rounds++;
        }

        return rounds;
    }

    private static bool CanAdd(MemfdGuestMemory memory)
    {
        try
        {
            _ = memory.AddRegion(Next);
            return memory.RemoveRegion(Next.Start) || CanAdd(memory);
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    private static MemfdGuestMemory CreateHuge(int size)
    {
        try
        {
            return MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { HugePageSize = size },
                new GuestRange(Start, (ulong)size));
        }
        catch (SystemCallException exception)
        {
            Assert.Ignore(exception.Message);
            throw;
        }
    }
}
