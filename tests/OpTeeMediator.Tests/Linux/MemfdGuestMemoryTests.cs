using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using static OpTeeMediator.Tests.Linux.TwoRegions;

namespace OpTeeMediator.Tests.Linux;

/// <summary>What memory files add to mapped guest memory: options, seals, and what becomes of addresses.</summary>
[TestFixture]
public sealed class MemfdGuestMemoryTests
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

    [Test]
    public void TryGetFile_InRegion_FileHoldsTheBytes()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First, Next);
        Assert.That(memory.TryWrite(Next.Start.Value + 0x10, 0x5a5a5a5a), Is.True);

        GuestRange range = new(Next.Start.Value + 0x10, 4);
        Assert.That(memory.TryGetFile(range, out SafeHandle file, out long offset), Is.True);
        byte[] bytes = new byte[4];
        _ = RandomAccess.Read((SafeFileHandle)file, bytes, offset);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(offset, Is.EqualTo(0x10));
            Assert.That(bytes, Is.All.EqualTo(0x5a));
        }
    }

    [Test]
    public void TryGetFile_FileIsSealed_CannotBeShrunkByWhoeverGetsIt()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(First);

        Assert.That(memory.TryGetFile(First, out SafeHandle file, out _), Is.True);
        Assert.That(() => RandomAccess.SetLength((SafeFileHandle)file, 0), Throws.InstanceOf<Exception>());
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

    private static int CountMappings(string name) =>
        File.ReadLines("/proc/self/maps").Count(line => line.Contains(name, StringComparison.Ordinal));

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
