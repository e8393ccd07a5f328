using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using static OpTeeMediator.Tests.Linux.TwoRegions;

namespace OpTeeMediator.Tests.Linux;

/// <summary>What is particular to memory that the VMM has mapped itself.</summary>
[TestFixture]
public sealed class MappedGuestMemoryTests() : GuestMemoryFixture(MemoryOwner.VmmWithFiles)
{
    // The highest region whose end is a guest address, in pages of 64 KiB.
    private static readonly GuestRange Highest = new(ulong.MaxValue - (2 * Size) + 1, Size);

    [TestCase(0L)]
    [TestCase(1L)]
    [TestCase(-0x1_0000L)]
    [TestCase(0x7fff_ffff_ffff_0000L)]
    public void Create_ImpossibleHostAddress_ThrowsAndNamesIt(long address) =>
        Assert.That(
            () => MappedGuestMemory.Create(new MappedMemoryRegion(First, (nint)address)),
            Throws.ArgumentException.With.Message.Contains(First.ToString()).And.Message.Contains($"0x{address:x}"));

    [TestCase(1L)]
    [TestCase(-0x1_0000L)]
    [TestCase(long.MaxValue - 0xffff)]
    public void Create_ImpossibleFileOffset_ThrowsAndNamesIt(long offset)
    {
        using SafeFileHandle file = new(-1, ownsHandle: false);

        Assert.That(
            () => MappedGuestMemory.Create(new MappedMemoryRegion(First, (nint)Size, file, offset)),
            Throws.ArgumentException.With.Message.Contains(First.ToString()).And.Message.Contains($"0x{offset:x}"));
    }

    [Test]
    public void Create_FileOffsetWithoutFile_Throws() =>
        Assert.That(
            () => MappedGuestMemory.Create(new MappedMemoryRegion(First, (nint)Size, null, (long)Size)),
            Throws.ArgumentException.With.Message.Contains("0 without a file"));

    [Test]
    public void Create_HostAddressesOverlap_ThrowsAndNamesBoth()
    {
        MappedMemoryRegion first = new(First, (nint)(4 * Size));
        MappedMemoryRegion second = new(new GuestRange(Apart.Start, 2 * Size), (nint)(3 * Size));

        Assert.That(
            () => MappedGuestMemory.Create(first, second),
            Throws.ArgumentException.With.Message.Contains(First.ToString()).And.Message.Contains("0x40000"));
    }

    [TestCase(3 << 20)]
    [TestCase(-1)]
    [TestCase(1)]
    public void Create_GranuleNoPowerOfTwoPages_Throws(int granule) =>
        Assert.That(
            () => MappedGuestMemory.Create(new MappedGuestMemoryOptions { MappingGranule = granule }),
            Throws.ArgumentException.With.Message.Contains("power of two"));

    [Test]
    public void Create_RegionOfHalfAGranule_Throws() =>
        Assert.That(
            () => MappedGuestMemory.Create(
                new MappedGuestMemoryOptions { MappingGranule = 2 * (int)Size }, MapInVmm(First)),
            Throws.ArgumentException.With.Message.Contains("131072"));

    [Test]
    public void Access_HighestAddresses_EndsWithTheRegion()
    {
        using MappedGuestMemory memory = Create(First, Highest);
        ulong last = Highest.End.Value - 8;

        using (Assert.EnterMultipleScope())
        {
            Assert.That(memory.TryWrite(last, 0x1122_3344_5566_7788UL), Is.True);
            Assert.That((memory.TryRead(last, out ulong value), value), Is.EqualTo((true, 0x1122_3344_5566_7788UL)));
            Assert.That(memory.TryRead(last + 1, out ulong _), Is.False);
            Assert.That(memory.TryRead(ulong.MaxValue - 7, out ulong _), Is.False);
            Assert.That(memory.TryDiscard(Highest), Is.True);
        }
    }

    [Test]
    public async Task RemoveRegion_Pinned_RegionIsReleasedWithTheLastPin()
    {
        TaskCompletionSource<MappedMemoryRegion> released = new();
        using MappedGuestMemory memory = CreateWith(released.SetResult);
        GuestPages pages = new([Next.Start.Value]);
        Assert.That(memory.TryPin(pages), Is.True);
        MappedMemoryRegion removed = memory.Regions[1];

        Assert.That(memory.RemoveRegion(Next.Start), Is.False);
        bool isReleasedEarly = released.Task.IsCompleted;
        memory.Unpin(pages);

        MappedMemoryRegion region = await released.Task.WaitAsync(TimeSpan.FromSeconds(10));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(isReleasedEarly, Is.False);
            Assert.That(region, Is.EqualTo(removed));
        }
    }

    [Test]
    public async Task Dispose_Pinned_OnlyThePinnedRegionIsReleasedLater()
    {
        TaskCompletionSource<MappedMemoryRegion> released = new();
        MappedGuestMemory memory = CreateWith(released.SetResult);
        GuestPages pages = new([Start]);
        Assert.That(memory.TryPin(pages), Is.True);

        memory.Dispose();
        memory.Unpin(pages);

        Assert.That((await released.Task.WaitAsync(TimeSpan.FromSeconds(10))).Range, Is.EqualTo(First));
    }

    [Test]
    public void RegionReleased_Throws_IsLogged()
    {
        ListLoggerFactory log = new();
        using MappedGuestMemory memory = CreateWith(_ => throw new InvalidOperationException("no"), log);
        GuestPages pages = new([Next.Start.Value]);
        Assert.That(memory.TryPin(pages), Is.True);

        Assert.That(memory.RemoveRegion(Next.Start), Is.False);
        memory.Unpin(pages);

        Assert.That(() => log.EventIds, Is.EqualTo([2001, 2003]).After(10_000, 10));
    }

    [Test]
    public void TryGetFile_InRegion_FileHoldsTheBytes()
    {
        using MappedGuestMemory memory = Create(First, Next);
        Assert.That(memory.TryWrite(Next.Start.Value + 0x10, 0x5a5a5a5a), Is.True);

        GuestRange range = new(Next.Start.Value + 0x10, 4);
        Assert.That(memory.TryGetFile(range, out SafeHandle file, out long offset), Is.True);
        byte[] bytes = new byte[4];
        _ = RandomAccess.Read((SafeFileHandle)file, bytes, offset);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(offset, Is.EqualTo((long)Size + 0x10));
            Assert.That(bytes, Is.All.EqualTo(0x5a));
        }
    }

    [Test]
    public void TryDiscard_SharedAnonymousMemory_ReadsAsZero()
    {
        using SafeMemoryMapping mapping = SafeMemoryMapping.TryCreateShared((nuint)Size)!;
        using MappedGuestMemory memory = MappedGuestMemory.Create(new MappedMemoryRegion(First, mapping.Address));
        Assert.That(memory.TryWrite(Start, ulong.MaxValue), Is.True);

        Assert.That(memory.TryDiscard(First), Is.True);

        Assert.That((memory.TryRead(Start, out ulong value), value), Is.EqualTo((true, 0ul)));
    }

    [Test]
    public void TryDiscard_PrivateMappingOfAFileThatIsNotGiven_SaysWhatIsWrong()
    {
        using MemfdGuestMemory file = MemfdGuestMemory.Create(First);
        nint address = LibC.Map(
            0, (nuint)Size, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_PRIVATE, file.Regions[0].File!, 0);
        try
        {
            using MappedGuestMemory memory = MappedGuestMemory.Create(new MappedMemoryRegion(First, address));

            Assert.That(
                () => memory.TryDiscard(First),
                Throws.InstanceOf<SystemCallException>().With.Message.Contains("shared or anonymous"));
        }
        finally
        {
            _ = LibC.Unmap(address, (nuint)Size);
        }
    }

    [Test]
    public void TryDiscard_PartOfAFile_LeavesTheRest()
    {
        using MappedGuestMemory memory = Create(First, Next);
        int page = Environment.SystemPageSize;
        Assert.That(memory.TryWrite(Next.Start, 1ul) && memory.TryWrite(Next.Start.Value + (ulong)page, 2ul), Is.True);

        Assert.That(memory.TryDiscard(new GuestRange(Next.Start, (ulong)page)), Is.True);

        using (Assert.EnterMultipleScope())
        {
            Assert.That((memory.TryRead(Next.Start, out ulong value), value), Is.EqualTo((true, 0ul)));
            Assert.That((memory.TryRead(Next.Start.Value + (ulong)page, out value), value), Is.EqualTo((true, 2ul)));
        }
    }

    [Test]
    public void AddRegion_ToTheLibrarysMemory_MemoryStaysTheVmms()
    {
        MemfdGuestMemory memory = MemfdGuestMemory.Create(First);
        MappedMemoryRegion region = MapInVmm(Next);
        memory.AddRegion(region);
        Assert.That(memory.TryWrite(Start + Size - 4, ulong.MaxValue), Is.True);

        memory.Dispose();

        using MappedGuestMemory again = MappedGuestMemory.Create(region);
        Assert.That((again.TryRead(Next.Start, out uint value), value), Is.EqualTo((true, uint.MaxValue)));
    }

    private MappedGuestMemory CreateWith(Action<MappedMemoryRegion> released, ListLoggerFactory? log = null) =>
        MappedGuestMemory.Create(
            new MappedGuestMemoryOptions { RegionReleased = released, LoggerFactory = log ?? new ListLoggerFactory() },
            MapInVmm(First),
            MapInVmm(Next));
}
