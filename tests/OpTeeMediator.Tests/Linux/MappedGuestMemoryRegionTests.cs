using System.Globalization;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using static OpTeeMediator.Tests.Linux.TwoRegions;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Mapped guest memory. Regions that are added and removed, and pages that are pinned or discarded.</summary>
[TestFixture(MemoryOwner.Library)]
[TestFixture(MemoryOwner.VmmWithFiles)]
[TestFixture(MemoryOwner.VmmWithoutFiles)]
public sealed class MappedGuestMemoryRegionTests(MemoryOwner owner) : GuestMemoryFixture(owner)
{
    [TestCase(Start, 0UL)]
    [TestCase(Start + 1, Size)]
    [TestCase(Start, Size - 1)]
    [TestCase(0UL, MappedGuestMemory.MaximumRegionLength + Size)]
    public void Create_RegionEmptyMisalignedOrHuge_Throws(ulong start, ulong length) =>
        Assert.That(() => Create(new GuestRange(start, length)),
            Throws.ArgumentException.With.Message.Contains(length.ToString(CultureInfo.InvariantCulture)));

    [Test]
    public void Create_Overlap_ThrowsAndNamesBoth() =>
        Assert.That(
            () => Create(First, new GuestRange(Start - Size, 2 * Size)),
            Throws.ArgumentException.With.Message.Contains(First.ToString()).And.Message.Contains("0x3fff0000"));

    [Test]
    public void Create_TooManyRegions_Throws()
    {
        GuestRange[] regions = [.. Enumerable.Range(0, MappedGuestMemory.MaximumRegions + 1)
            .Select(index => new GuestRange((ulong)index * Size, Size))];

        Assert.That(() => Create(regions), Throws.ArgumentException.With.Message.Contains("64"));
    }

    [Test]
    public void RemoveRegion_ACompanionHasMappedIt_IsRefusedUntilThatEnds()
    {
        using MappedGuestMemory memory = Create(First, Next);
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
        using MappedGuestMemory memory = Create(First);
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
        using MappedGuestMemory memory = Create(Apart, First, Next);

        Assert.That(memory.Regions.Select(region => region.Range), Is.EqualTo([First, Next, Apart]));
    }

    [Test]
    public void TryPin_WithinRegions_IsTrue()
    {
        using MappedGuestMemory memory = Create(First, Next);
        GuestPages pages = new([Start + Size - 0x1000, Start + Size, Start]);

        Assert.That(memory.TryPin(pages), Is.True);
        memory.Unpin(pages);
    }

    [Test]
    public void TryPin_OnePageOutside_PinsNothing()
    {
        using MappedGuestMemory memory = Create(First);
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
        using MappedGuestMemory memory = Create(First, Next);
        Assert.That(memory.TryWrite(Start + Size - 4, ulong.MaxValue), Is.True);

        Assert.That(memory.TryDiscard(new GuestRange(Start, 2 * Size)), Is.True);
        Assert.That(memory.TryRead(Start + Size - 4, out ulong value), Is.True);
        Assert.That(value, Is.Zero);
    }

    [Test]
    public void TryDiscard_PinnedPageInside_RefusesUntilUnpinned()
    {
        using MappedGuestMemory memory = Create(First);
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
        using MappedGuestMemory memory = Create(First, Next);

        Assert.That(memory.TryDiscard(new GuestRange(start, length)), Is.False);
    }

    [Test]
    public void AddRegion_AtRunTime_IsGuestRam()
    {
        using MappedGuestMemory memory = Create(First);

        MappedMemoryRegion added = Add(memory, Next);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(added, Is.EqualTo(memory.Regions[1]));
            Assert.That(memory.TryWrite(Start + Size - 4, 1UL), Is.True);
        }
    }

    [Test]
    public void RemoveRegion_NotPinned_IsNoRam()
    {
        using MappedGuestMemory memory = Create(First, Next);

        bool isFree = memory.RemoveRegion(Next.Start);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(isFree, Is.True);
            Assert.That(memory.TryRead(Next.Start, out int _), Is.False);
            Assert.That(memory.TryRead(First.Start, out int _), Is.True);
            Assert.That(memory.Regions, Has.Length.EqualTo(1));
        }
    }

    [Test]
    public void RemoveRegion_Pinned_IsNoRamAndIsLogged()
    {
        ListLoggerFactory log = new();
        using MappedGuestMemory memory = Create(log, First, Next);
        GuestPages pages = new([Next.Start.Value]);
        Assert.That(memory.TryPin(pages), Is.True);

        bool isFree = memory.RemoveRegion(Next.Start);
        bool isRam = memory.TryRead(Next.Start, out int _);
        memory.Unpin(pages);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(isFree, Is.False);
            Assert.That(isRam, Is.False);
            Assert.That(log.EventIds, Is.EqualTo([2001]));
        }
    }

    [Test]
    public void Dispose_Pinned_IsNoRamAndIsLogged()
    {
        ListLoggerFactory log = new();
        MappedGuestMemory memory = Create(log, First, Next);
        GuestPages pages = new([Start]);
        Assert.That(memory.TryPin(pages), Is.True);

        memory.Dispose();
        memory.Dispose();
        bool isRam = memory.TryRead(Start, out int _);
        memory.Unpin(pages);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(isRam, Is.False);
            Assert.That(log.EventIds, Is.EqualTo([2000]));
            Assert.That(() => Add(memory, Next), Throws.InstanceOf<ObjectDisposedException>());
        }
    }

    [Test]
    public void RemoveRegion_PinnedPagesOfAnotherRegion_IsFreeAtOnce()
    {
        using MappedGuestMemory memory = Create(First, Next);
        Assert.That(memory.TryPin(new GuestPages([Start])), Is.True);

        Assert.That(memory.RemoveRegion(Next.Start), Is.True);
    }

    [Test]
    public void RemoveRegion_UnknownStart_Throws()
    {
        using MappedGuestMemory memory = Create(First);

        Assert.That(() => memory.RemoveRegion(Start + 0x1000),
            Throws.ArgumentException.With.Message.Contains("0x40001000"));
    }

    [Test]
    public void AddRegion_WhereARemovedOneIsStillPinned_ThrowsUntilUnpinned()
    {
        using MappedGuestMemory memory = Create(First, Next);
        GuestPages pages = new([Next.Start.Value]);
        Assert.That(memory.TryPin(pages), Is.True);
        Assert.That(memory.RemoveRegion(Next.Start), Is.False);

        Assert.That(() => Add(memory, Next), Throws.ArgumentException.With.Message.Contains("still shared"));
        memory.Unpin(pages);
        Assert.That(() => Add(memory, Next), Throws.Nothing);
    }

    [Test]
    public void AddAndRemoveRegion_WhileAnotherThreadReadsAndPins_NothingBreaks()
    {
        using MappedGuestMemory memory = Create(First);
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

    private static void PinUntil(MappedGuestMemory memory, CancellationToken end)
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

    private int ChangeRegionsUntil(MappedGuestMemory memory, CancellationToken end)
    {
        int rounds = 0;
        while (!end.IsCancellationRequested)
        {
            _ = Add(memory, Next);
            _ = memory.TryDiscard(Next);
            bool isFree = memory.RemoveRegion(Next.Start);

            // A deferred removal ends with the other thread's Unpin, at once.
            _ = SpinWait.SpinUntil(() => isFree || CanAdd(memory), TimeSpan.FromSeconds(5));
            rounds++;
        }

        return rounds;
    }

    private bool CanAdd(MappedGuestMemory memory)
    {
        try
        {
            _ = Add(memory, Next);
            return memory.RemoveRegion(Next.Start) || CanAdd(memory);
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

}
