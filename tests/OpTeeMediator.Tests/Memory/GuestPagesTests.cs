using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Memory;

[Parallelizable(ParallelScope.All)]
internal sealed class GuestPagesTests
{
    private const ulong Page = 0x1000;

    /// <summary>The last page of all: its end does not fit 64 bits.</summary>
    private const ulong LastPage = 0xffff_ffff_ffff_f000;

    /// <summary>Neighbours, a gap, a region of half a page, the end of the address space.</summary>
    private static readonly GuestRange[] Regions =
    [
        new(0x10_0000, 8 * Page), new(0x10_0000 + (8 * Page), 4 * Page), new(0x20_0000, 4 * Page),
        new(0x30_0000, 0x800), new(LastPage - Page, Page),
    ];

    // Every length around a multiple of the four pages that are checked at a time.
    [Test]
    public void IsWithinAndOverlaps_RandomLists_AgreeWithPageByPage(
        [Range(1, 18)] int count, [Values(1, 2, 3)] int seed)
    {
        Random random = new((count * 10) + seed);
        for (int round = 0; round < 300; round++)
        {
            ulong[] addresses = RandomList(random, count);
            GuestPages pages = new(addresses);
            GuestRange range = RandomRange(random);

            Assert.That(
                pages.IsWithin(Regions),
                Is.EqualTo(addresses.All(IsInRegions)),
                $"{string.Join(' ', addresses.Select(address => $"{address:x}"))}");
            Assert.That(
                pages.Overlaps(range), Is.EqualTo(addresses.Any(address => Shares(address, range))), $"{range}");
            Assert.That(Enumerable.Range(0, count).Select(index => pages[index].Value), Is.EqualTo(addresses));
            Assert.That(pages.IsContiguous, Is.EqualTo(AreNeighbours(addresses)));
        }
    }

    [Test]
    public void RunAt_RandomLists_IsTheLongestRun([Range(1, 18)] int count, [Values(1, 2)] int seed)
    {
        Random random = new((count * 10) + seed);
        for (int round = 0; round < 200; round++)
        {
            ulong[] addresses = RandomList(random, count);
            ulong offset = (ulong)random.NextInt64(count * (long)Page);

            GuestRange run = new GuestPages(addresses).RunAt(offset);

            Assert.That((run.Start.Value, run.Length), Is.EqualTo(RunByPage(addresses, offset)));
        }
    }

    [TestCase(new ulong[] { LastPage })]
    [TestCase(new ulong[] { LastPage, 0 })]
    [TestCase(new ulong[] { LastPage - Page, LastPage })]
    [TestCase(new ulong[] { LastPage, 0, Page, 2 * Page, 3 * Page })]
    [TestCase(new ulong[] { 0, 2 * Page, 4 * Page, 6 * Page, LastPage })]
    public void Constructor_LastPageOfTheAddressSpace_Throws(ulong[] addresses) =>
        Assert.That(() => new GuestPages(addresses), Throws.ArgumentException);

    [TestCase(0ul, LastPage - Page, Page)]
    [TestCase(0x800ul, LastPage - Page + 0x800, 0x800ul)]
    [TestCase(0x1000ul, LastPage - (3 * Page), 2 * Page)]
    [TestCase(0x2ffful, LastPage - Page - 1, 1ul)]
    [TestCase(0x3000ul, 0ul, Page)]
    public void RunAt_ScatteredPagesUpToTheLastPossibleOne_IsTheRun(ulong offset, ulong start, ulong length) =>
        Assert.That(
            new GuestPages([LastPage - Page, LastPage - (3 * Page), LastPage - (2 * Page), 0]).RunAt(offset),
            Is.EqualTo(new GuestRange(start, length)));

    [Test]
    public void RunAt_ContiguousPagesUpToTheLastPossibleOne_IsTheRun() =>
        Assert.That(
            new GuestPages([LastPage - (2 * Page), LastPage - Page]).RunAt(8),
            Is.EqualTo(new GuestRange(LastPage - (2 * Page) + 8, (2 * Page) - 8)));

    [Test]
    public void Overlaps_EmptyRange_Never() =>
        Assert.That(new GuestPages([0x10_0000, 0x20_0000]).Overlaps(new GuestRange(0x20_0000, 0)), Is.False);

    [Test]
    public void IsWithin_NoRegions_Never() => Assert.That(new GuestPages([0, 0x2000]).IsWithin([]), Is.False);

    [Test]
    public void Constructor_NoPagesOrUnaligned_Throws([Range(1, 9)] int count)
    {
        ulong[] addresses = [.. Enumerable.Range(0, count).Select(index => (ulong)index * 2 * Page)];
        addresses[^1] += 8;

        Assert.That(() => new GuestPages(addresses), Throws.ArgumentException);
        Assert.That(() => new GuestPages([]), Throws.ArgumentException);
    }

    [Test]
    public void Indexer_OutsideTheList_Throws()
    {
        GuestPages pages = new([0, Page]);

        Assert.That(() => pages[2], Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => pages[-1], Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => pages.RunAt(2 * Page), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    private static ulong[] RandomList(Random random, int count)
    {
        ulong[] candidates =
        [
            0xf_f000, 0x10_0000, 0x10_7000, 0x10_8000, 0x10_b000, 0x10_c000, 0x20_0000, 0x20_3000, 0x20_4000,
            0x30_0000, LastPage - Page, 0,
        ];
        bool mostlyGood = random.Next(2) == 0;
        ulong[] addresses = new ulong[count];
        addresses[0] = 0x10_0000 + ((ulong)random.Next(8) * Page);
        for (int index = 1; index < count; index++)
        {
            addresses[index] = random.Next(mostlyGood ? 40 : 4) switch
            {
                0 => candidates[random.Next(candidates.Length)],
                _ => random.Next(3) == 0 ? 0x10_0000 + ((ulong)random.Next(8) * Page) : addresses[index - 1] + Page,
            };

            // Refused by the constructor.
            addresses[index] = addresses[index] == LastPage ? 0 : addresses[index];
        }

        return addresses;
    }

    private static GuestRange RandomRange(Random random)
    {
        ulong start = 0x10_0000 + (ulong)random.Next(0x1_0000);
        return new GuestRange(start, (ulong)random.Next(0x3000));
    }

    private static bool IsInRegions(ulong page) => Enumerable.Range(0, 2).Select(half => page + ((ulong)half * 0x800))
        .All(
            address => Regions.Any(
                region =>
                    address - region.Start.Value < region.Length
                        && address + 0x7ff - region.Start.Value < region.Length));

    private static bool Shares(ulong page, GuestRange range) =>
        range.Length != 0 && page <= range.End.Value - 1 && page + (Page - 1) >= range.Start.Value;

    private static bool AreNeighbours(ulong[] addresses) =>
        Enumerable.Range(1, addresses.Length - 1).All(index => addresses[index] == addresses[index - 1] + Page);

    private static (ulong, ulong) RunByPage(ulong[] addresses, ulong offset)
    {
        int index = (int)(offset / Page);
        int last = index;
        while (last + 1 < addresses.Length && addresses[last + 1] == addresses[last] + Page)
        {
            last++;
        }

        return (addresses[index] + (offset % Page), ((ulong)(last - index + 1) * Page) - (offset % Page));
    }
}
