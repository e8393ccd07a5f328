using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Linux;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

[TestFixture]
public sealed class MemfdGuestMemoryTests
{
    private const ulong Start = 0x4000_0000;

    // 64 KiB, so that the tests hold on hosts with pages of 4, 16 and 64 KiB.
    private const ulong Size = 0x1_0000;

    private static readonly GuestRange First = new(Start, Size);
    private static readonly GuestRange Next = new(Start + Size, Size);
    private static readonly GuestRange Apart = new(Start + (4 * Size), Size);

    [Test]
    public void TryRead_NewMemory_IsZero()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.TryRead(Start + 8, out ulong value), Is.True);
        Assert.That(value, Is.Zero);
    }

    [TestCase(0UL)]
    [TestCase(1UL)]
    [TestCase(Size - 8)]
    public void TryWriteThenTryRead_Number_IsTheSame(ulong offset)
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.TryWrite(Start + offset, 0x0123_4567_89ab_cdefUL), Is.True);
        Assert.That(memory.TryRead(Start + offset, out ulong value), Is.True);
        Assert.That(value, Is.EqualTo(0x0123_4567_89ab_cdefUL));
    }

    [Test]
    public void TryWriteThenTryRead_EveryLengthUpTo64_IsTheSameAndTouchesNothingElse([Range(1, 64)] int length)
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        byte[] source = [.. Enumerable.Range(1, length).Select(index => (byte)index)];
        byte[] expected = [0, .. source, 0];

        Assert.That(memory.TryWrite(Start + 0x101, source), Is.True);
        byte[] actual = new byte[length + 2];
        Assert.That(memory.TryRead(Start + 0x100, actual), Is.True);
        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void TryWriteThenTryRead_AcrossBorder_IsOnePiece()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Next, First);

        Assert.That(memory.TryWrite(Start + Size - 3, 0x0807_0605_0403_0201UL), Is.True);
        byte[] before = new byte[3];
        byte[] behind = new byte[5];
        byte[] whole = new byte[8];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(memory.TryRead(Start + Size - 3, before), Is.True);
            Assert.That(memory.TryRead(Start + Size, behind), Is.True);
            Assert.That(memory.TryRead(Start + Size - 3, whole), Is.True);
            Assert.That(before, Is.EqualTo(new byte[] { 1, 2, 3 }));
            Assert.That(behind, Is.EqualTo(new byte[] { 4, 5, 6, 7, 8 }));
            Assert.That(whole, Is.EqualTo(new byte[] { 1, 2, 3, 4, 5, 6, 7, 8 }));
        }
    }

    [Test]
    public void TryWrite_AcrossThreeRegions_IsOnePiece()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next, new GuestRange(Start + (2 * Size), Size));
        byte[] source = [.. Enumerable.Range(0, (int)Size + 2).Select(index => (byte)(index * 7))];

        Assert.That(memory.TryWrite(Start + Size - 1, source), Is.True);
        byte[] actual = new byte[source.Length];
        Assert.That(memory.TryRead(Start + Size - 1, actual), Is.True);
        Assert.That(actual, Is.EqualTo(source));
    }

    [Test]
    public void TryWrite_EndOutsideMemory_WritesNothing()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next, Apart);
        byte[] source = [.. Enumerable.Repeat((byte)0xff, (int)Size + 2)];

        Assert.That(memory.TryWrite(Start + Size - 1, source), Is.False);
        byte[] actual = new byte[2 * Size];
        Assert.That(memory.TryRead(Start, actual), Is.True);
        Assert.That(actual, Is.All.Zero);
    }

    [TestCase(Start - 1, 1)]
    [TestCase(Start - 1, 2)]
    [TestCase(Start + Size, 1)]
    [TestCase(Start + Size - 1, 2)]
    [TestCase(0UL, 8)]
    [TestCase(0xffff_ffff_ffff_ffffUL, 1)]
    [TestCase(0xffff_ffff_ffff_fff8UL, 8)]
    [TestCase(0xffff_ffff_ffff_ffffUL, 16)]
    [TestCase(0x8000_0000_0000_0000UL, 8)]
    public void Access_NotGuestRam_AnswersFalse(ulong address, int length)
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Apart);
        byte[] buffer = new byte[length];

        using (Assert.EnterMultipleScope())
        {
            Assert.That(memory.TryRead(address, buffer), Is.False);
            Assert.That(memory.TryWrite(address, buffer), Is.False);
            Assert.That(memory.TryGetWindow(address, length, out _), Is.False);
        }
    }

    [Test]
    public void TryRead_RegionBehindAGap_IsFound()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Apart);

        Assert.That(memory.TryWrite(Apart.Start, 7), Is.True);
        Assert.That(memory.TryRead(Apart.Start, out int value), Is.True);
        Assert.That(value, Is.EqualTo(7));
    }

    [Test]
    public void TryRead_Nothing_IsTrueEverywhere()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(memory.TryRead(0, []), Is.True);
            Assert.That(memory.TryWrite(ulong.MaxValue, []), Is.True);
        }
    }

    [TestCase(-1)]
    [TestCase(int.MinValue)]
    public void TryGetWindow_NegativeLength_AnswersFalse(int length)
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.TryGetWindow(Start, length, out _), Is.False);
    }

    [Test]
    public void TryGetWindow_Written_IsSeenByTryRead()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.TryGetWindow(Start + 0x20, 4, out Span<byte> window), Is.True);
        window[2] = 9;
        Assert.That(memory.TryRead(Start + 0x22, out byte value), Is.True);
        Assert.That(value, Is.EqualTo(9));
    }

    [Test]
    public void TryGetHostAddress_InRegion_IsRegionsAddressPlusOffset()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.TryGetHostAddress(new GuestRange(Start + 0x123, 0x1000), out nint address), Is.True);
        Assert.That(address, Is.EqualTo(memory.Regions[0].HostAddress + 0x123));
    }

    [Test]
    public void TryGetHostAddress_AcrossBorder_AnswersFalse()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);

        Assert.That(memory.TryGetHostAddress(new GuestRange(Start + Size - 1, 2), out _), Is.False);
    }

    [Test]
    public void TryGetFile_InRegion_FileHoldsTheBytes()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        Assert.That(memory.TryWrite(Next.Start.Value + 0x10, 0x5a5a5a5a), Is.True);

        Assert.That(memory.TryGetFile(new GuestRange(Next.Start.Value + 0x10, 4), out SafeHandle file, out long offset), Is.True);
        byte[] bytes = new byte[4];
        _ = RandomAccess.Read((SafeFileHandle)file, bytes, offset);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(offset, Is.EqualTo(0x10));
            Assert.That(bytes, Is.All.EqualTo(0x5a));
        }
    }

    [Test]
    public void TryGetFile_AcrossBorder_AnswersFalse()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);

        Assert.That(memory.TryGetFile(new GuestRange(Start + Size - 1, 2), out _, out _), Is.False);
    }

    [Test]
    public void TryGetFile_FileIsSealed_CannotBeShrunkByWhoeverGetsIt()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.TryGetFile(First, out SafeHandle file, out _), Is.True);
        Assert.That(() => RandomAccess.SetLength((SafeFileHandle)file, 0), Throws.InstanceOf<Exception>());
    }

    [Test]
    public void MappingGranule_OrdinaryPages_IsHostsPageSize()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.MappingGranule, Is.EqualTo(Environment.SystemPageSize));
    }

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
        Assert.That(() => MemfdGuestMemory.Create(new GuestRange(start, length)), Throws.ArgumentException.With.Message.Contains(length.ToString(CultureInfo.InvariantCulture)));

    [Test]
    public void Create_Overlap_ThrowsAndNamesBoth() =>
        Assert.That(
            () => MemfdGuestMemory.Create(First, new GuestRange(Start - Size, 2 * Size)),
            Throws.ArgumentException.With.Message.Contains(First.ToString()).And.Message.Contains("0x3fff0000"));

    [Test]
    public void Create_TooManyRegions_Throws()
    {
        GuestRange[] regions = [.. Enumerable.Range(0, MemfdGuestMemory.MaximumRegions + 1).Select(index => new GuestRange((ulong)index * Size, Size))];

        Assert.That(() => MemfdGuestMemory.Create(regions), Throws.ArgumentException.With.Message.Contains("64"));
    }

    [Test]
    public void Create_HugePageSizeNoPowerOfTwo_Throws() =>
        Assert.That(() => MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { HugePageSize = 3 << 20 }, First), Throws.ArgumentException.With.Message.Contains("power of two"));

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
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = log }, First, Next);
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

        Assert.That(() => memory.RemoveRegion(Start + 0x1000), Throws.ArgumentException.With.Message.Contains("0x40001000"));
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
        MemfdGuestMemory memory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = log, Name = "deferred-unmap" }, First, Next);
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
        MemfdGuestMemory memory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { Name = "plain-unmap" }, First, Apart);
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
    public void Access_InOneRegion_AllocatesNothing()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        GuestPages pages = new([Start]);
        int sum = AccessTimes(memory, pages, 1000);

        long before = GC.GetAllocatedBytesForCurrentThread();
        sum += AccessTimes(memory, pages, 1000);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        using (Assert.EnterMultipleScope())
        {
            Assert.That(allocated, Is.Zero);
            Assert.That(sum, Is.EqualTo(2000 * 5));
        }
    }

    [Test]
    public void TryRead_WhileAnotherThreadWrites_NeverSeesHalfANumber()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        using CancellationTokenSource end = new(TimeSpan.FromMilliseconds(200));
        Thread writer = new(() => WriteUntil(memory, end.Token));
        writer.Start();
        int torn = CountTornReads(memory, end.Token);
        writer.Join();

        Assert.That(torn, Is.Zero);
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

    private static MemfdGuestMemory CreateHuge(int size)
    {
        try
        {
            return MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { HugePageSize = size }, new GuestRange(Start, (ulong)size));
        }
        catch (SystemCallException exception)
        {
            Assert.Ignore(exception.Message);
            throw;
        }
    }

    private static int CountMappings(string name) => File.ReadLines("/proc/self/maps").Count(line => line.Contains(name, StringComparison.Ordinal));

    private static int AccessTimes(MemfdGuestMemory memory, GuestPages pages, int times)
    {
        int successes = 0;
        Span<byte> buffer = stackalloc byte[48];
        for (int index = 0; index < times; index++)
        {
            successes += memory.TryRead(Start + 64, buffer) ? 1 : 0;
            successes += memory.TryWrite(Start + Size - 4, buffer) ? 1 : 0;
            successes += memory.TryRead(Start, out ulong _) ? 1 : 0;
            successes += memory.TryGetWindow(Start, 4096, out _) ? 1 : 0;
            successes += memory.TryPin(pages) ? 1 : 0;
            memory.Unpin(pages);
        }

        return successes;
    }

    private static void WriteUntil(MemfdGuestMemory memory, CancellationToken end)
    {
        while (!end.IsCancellationRequested)
        {
            _ = memory.TryWrite(Start, 0UL) && memory.TryWrite(Start + 8, 0U) && memory.TryWrite(Start + 12, (ushort)0);
            _ = memory.TryWrite(Start, ulong.MaxValue) && memory.TryWrite(Start + 8, uint.MaxValue) && memory.TryWrite(Start + 12, ushort.MaxValue);
        }
    }

    private static int CountTornReads(MemfdGuestMemory memory, CancellationToken end)
    {
        int torn = 0;
        while (!end.IsCancellationRequested)
        {
            _ = memory.TryRead(Start, out ulong eight);
            _ = memory.TryRead(Start + 8, out uint four);
            _ = memory.TryRead(Start + 12, out ushort two);
            torn += eight is 0 or ulong.MaxValue && four is 0 or uint.MaxValue && two is 0 or ushort.MaxValue ? 0 : 1;
        }

        return torn;
    }

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
}
