using System.Buffers.Binary;
using System.Text;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Companion;

/// <summary>The device tree that OP-TEE gets, and what it leaves in it.</summary>
[TestFixture]
internal sealed class DeviceTreeTests
{
    private static readonly GuestRange Ram = new(0x4000_0000, 256 << 20);
    private static readonly GuestRange Reserved = new(0x4200_0000, 2 << 20);

    [Test]
    public void Write_AMachine_GivesAValidTreeWithoutReservations()
    {
        byte[] tree = MemoryDeviceTree.Write([Ram], []);

        Assert.That(BinaryPrimitives.ReadUInt32BigEndian(tree.AsSpan(4)), Is.EqualTo(tree.Length));
        Assert.That(MemoryDeviceTree.UsedSize(tree), Is.EqualTo(tree.Length));
        Assert.That(ReservedMemoryReader.TryRead(tree, out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.Empty, "its memory is not reserved");
    }

    [Test]
    public void Write_TwoRegions_NamesBoth()
    {
        byte[] tree = MemoryDeviceTree.Write([Ram, new GuestRange(0x1_0000_0000, 1 << 20)], []);

        Assert.That(Encoding.ASCII.GetString(tree), Does.Contain("memory@40000000").And.Contain("memory@100000000"));
        Assert.That(tree.AsSpan().IndexOf((byte[])[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0]), Is.Positive,
            "address and size of the second");
    }

    [Test]
    public void Write_ASeed_IsInSecureChosen()
    {
        byte[] seed = [1, 2, 3, 4, 5, 6, 7, 8];
        byte[] tree = MemoryDeviceTree.Write([Ram], seed);

        Assert.That(Encoding.ASCII.GetString(tree), Does.Contain("secure-chosen").And.Contain("kaslr-seed"));
        Assert.That(tree.AsSpan().IndexOf(seed), Is.Positive);
        Assert.That(ReservedMemoryReader.TryRead(tree, out _), Is.True);
    }

    [Test]
    public void Read_ReservedMemory_GivesItsRanges()
    {
        byte[] tree = new TreeBuilder()
            .Begin("").Property("#address-cells", 2).Property("#size-cells", 2)
            .Begin("memory@40000000").Property("reg", 0, 0x4000_0000, 0, 0x1000_0000).End()
            .Begin("reserved-memory").Property("#address-cells", 2).Property("#size-cells", 2).Property("ranges")
            .Begin("optee_core@e100000").Property("no-map").Property("reg", 0, 0x0e10_0000, 0, 0x00f0_0000).End()
            .Begin("optee_shm@42000000").Property("reg", 0, 0x4200_0000, 0, 0x0020_0000).End()
            .End()
            .Begin("firmware").Begin("optee").Property("reg", 1, 2, 3, 4).End().End()
            .End().ToArray();

        Assert.That(ReservedMemoryReader.TryRead(tree, out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.EqualTo(new[] { new GuestRange(0x0e10_0000, 0x00f0_0000), Reserved }));
    }

    [Test]
    public void Read_CellsOfTheRoot_AreUsedWhereTheNodeHasNone()
    {
        byte[] tree = new TreeBuilder()
            .Begin("").Property("#address-cells", 1).Property("#size-cells", 1)
            .Begin("reserved-memory").Begin("a")
            .Property("reg", 0x4200_0000, 0x0020_0000, 0x5000_0000, 0x1000).End().End()
            .End().ToArray();

        Assert.That(ReservedMemoryReader.TryRead(tree, out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.EqualTo(new[] { Reserved, new GuestRange(0x5000_0000, 0x1000) }));
    }

    [Test]
    public void Read_ANodeDeeperDown_IsNotTheReservedMemory()
    {
        byte[] tree = new TreeBuilder().Begin("").Begin("soc").Begin("reserved-memory").Begin("a")
            .Property("reg", 0, 1, 0, 1).End().End().End().End().ToArray();

        Assert.That(ReservedMemoryReader.TryRead(tree, out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.Empty);
    }

    [Test]
    public void Read_ARangeThatWraps_IsLeftOut()
    {
        byte[] tree = new TreeBuilder().Begin("").Begin("reserved-memory").Begin("a")
            .Property("reg", uint.MaxValue, uint.MaxValue, 0, 2).End().End().End().ToArray();

        Assert.That(ReservedMemoryReader.TryRead(tree, out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.Empty);
    }

    [Test]
    public void Read_EveryBrokenVariant_NeverThrows()
    {
        byte[] whole = new TreeBuilder().Begin("").Begin("reserved-memory").Begin("a").Property("reg", 0, 1, 0, 1).End()
            .End().End().ToArray();
        Random random = new(1);
        for (int round = 0; round < 20_000; round++)
        {
            byte[] broken = [.. whole];
            broken[random.Next(broken.Length)] = (byte)random.Next(256);
            broken[random.Next(broken.Length)] ^= (byte)(1 << random.Next(8));

            Assert.That(() => ReservedMemoryReader.TryRead(broken.AsSpan(0, random.Next(broken.Length + 1)), out _),
                Throws.Nothing);
        }
    }

    [Test]
    public void Read_SomethingElse_IsRefused()
    {
        Assert.That(ReservedMemoryReader.TryRead(new byte[4096], out _), Is.False);
        Assert.That(ReservedMemoryReader.TryRead([], out _), Is.False);
    }
}
