using System.Runtime.InteropServices;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using static OpTeeMediator.Tests.Linux.TwoRegions;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Mapped guest memory. Reads, writes, windows and files.</summary>
[TestFixture(MemoryOwner.Library)]
[TestFixture(MemoryOwner.VmmWithFiles)]
[TestFixture(MemoryOwner.VmmWithoutFiles)]
public sealed class MappedGuestMemoryAccessTests(MemoryOwner owner) : GuestMemoryFixture(owner)
{
    [Test]
    public void TryRead_NewMemory_IsZero()
    {
        using MappedGuestMemory memory = Create(First);

        Assert.That(memory.TryRead(Start + 8, out ulong value), Is.True);
        Assert.That(value, Is.Zero);
    }

    [TestCase(0UL)]
    [TestCase(1UL)]
    [TestCase(Size - 8)]
    public void TryWriteThenTryRead_Number_IsTheSame(ulong offset)
    {
        using MappedGuestMemory memory = Create(First);

        Assert.That(memory.TryWrite(Start + offset, 0x0123_4567_89ab_cdefUL), Is.True);
        Assert.That(memory.TryRead(Start + offset, out ulong value), Is.True);
        Assert.That(value, Is.EqualTo(0x0123_4567_89ab_cdefUL));
    }

    [Test]
    public void TryWriteThenTryRead_EveryLengthUpTo64_IsTheSameAndTouchesNothingElse([Range(1, 64)] int length)
    {
        using MappedGuestMemory memory = Create(First);
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
        using MappedGuestMemory memory = Create(Next, First);

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
        using MappedGuestMemory memory = Create(First, Next, new GuestRange(Start + (2 * Size), Size));
        byte[] source = [.. Enumerable.Range(0, (int)Size + 2).Select(index => (byte)(index * 7))];

        Assert.That(memory.TryWrite(Start + Size - 1, source), Is.True);
        byte[] actual = new byte[source.Length];
        Assert.That(memory.TryRead(Start + Size - 1, actual), Is.True);
        Assert.That(actual, Is.EqualTo(source));
    }

    [Test]
    public void TryWrite_EndOutsideMemory_WritesNothing()
    {
        using MappedGuestMemory memory = Create(First, Next, Apart);
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
        using MappedGuestMemory memory = Create(First, Apart);
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
        using MappedGuestMemory memory = Create(First, Apart);

        Assert.That(memory.TryWrite(Apart.Start, 7), Is.True);
        Assert.That(memory.TryRead(Apart.Start, out int value), Is.True);
        Assert.That(value, Is.EqualTo(7));
    }

    [Test]
    public void TryRead_Nothing_IsTrueEverywhere()
    {
        using MappedGuestMemory memory = Create(First);

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
        using MappedGuestMemory memory = Create(First);

        Assert.That(memory.TryGetWindow(Start, length, out _), Is.False);
    }

    [Test]
    public void TryGetWindow_Written_IsSeenByTryRead()
    {
        using MappedGuestMemory memory = Create(First);

        Assert.That(memory.TryGetWindow(Start + 0x20, 4, out Span<byte> window), Is.True);
        window[2] = 9;
        Assert.That(memory.TryRead(Start + 0x22, out byte value), Is.True);
        Assert.That(value, Is.EqualTo(9));
    }

    [Test]
    public void TryGetHostAddress_InRegion_IsRegionsAddressPlusOffset()
    {
        using MappedGuestMemory memory = Create(First);

        Assert.That(memory.TryGetHostAddress(new GuestRange(Start + 0x123, 0x1000), out nint address), Is.True);
        Assert.That(address, Is.EqualTo(memory.Regions[0].HostAddress + 0x123));
    }

    [Test]
    public void TryGetHostAddress_AcrossBorder_AnswersFalse()
    {
        using MappedGuestMemory memory = Create(First, Next);

        Assert.That(memory.TryGetHostAddress(new GuestRange(Start + Size - 1, 2), out _), Is.False);
    }

    [Test]
    public void TryGetFile_InRegion_IsTheRegionsIfThereIsOne()
    {
        using MappedGuestMemory memory = Create(First, Next);

        bool isFound = memory.TryGetFile(new GuestRange(Next.Start.Value + 0x10, 4), out SafeHandle? file, out _);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(isFound, Is.EqualTo(Owner != MemoryOwner.VmmWithoutFiles));
            Assert.That(file, Is.SameAs(memory.Regions[1].File));
        }
    }

    [Test]
    public void TryGetFile_AcrossBorder_AnswersFalse()
    {
        using MappedGuestMemory memory = Create(First, Next);

        Assert.That(memory.TryGetFile(new GuestRange(Start + Size - 1, 2), out _, out _), Is.False);
    }

    [Test]
    public void MappingGranule_OrdinaryPages_IsHostsPageSize()
    {
        using MappedGuestMemory memory = Create(First);

        Assert.That(memory.MappingGranule, Is.EqualTo(Environment.SystemPageSize));
    }

    [Test]
    public void Access_InOneRegion_AllocatesNothing()
    {
        using MappedGuestMemory memory = Create(First, Next);
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
        using MappedGuestMemory memory = Create(First);
        using CancellationTokenSource end = new(TimeSpan.FromMilliseconds(200));
        Thread writer = new(() => WriteUntil(memory, end.Token));
        writer.Start();
        int torn = CountTornReads(memory, end.Token);
        writer.Join();

        Assert.That(torn, Is.Zero);
    }

    private static int AccessTimes(MappedGuestMemory memory, GuestPages pages, int times)
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

    private static void WriteUntil(MappedGuestMemory memory, CancellationToken end)
    {
        while (!end.IsCancellationRequested)
        {
            _ = memory.TryWrite(Start, 0UL) && memory.TryWrite(Start + 8, 0U) && memory.TryWrite(Start + 12, (ushort)0);
            _ = memory.TryWrite(Start, ulong.MaxValue) && memory.TryWrite(Start + 8, uint.MaxValue)
                && memory.TryWrite(Start + 12, ushort.MaxValue);
        }
    }

    private static int CountTornReads(MappedGuestMemory memory, CancellationToken end)
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
}
