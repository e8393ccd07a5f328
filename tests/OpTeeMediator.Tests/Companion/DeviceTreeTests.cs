using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Companion;

/// <summary>The device tree that OP-TEE gets, and the ranges that it reserves in it.</summary>
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
        Assert.That(DeviceTreeFormat.UsedSize(tree), Is.EqualTo(tree.Length));
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
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        {
            tree.Cells("#address-cells", 2);
            tree.Cells("#size-cells", 2);
            using (tree.Node("memory@40000000"))
            {
                tree.Numbers("reg", 0x4000_0000, 0x1000_0000);
            }

            using (tree.Node("reserved-memory"))
            {
                tree.Cells("#address-cells", 2);
                tree.Cells("#size-cells", 2);
                tree.Flag("ranges");
                using (tree.Node("optee_core@e100000"))
                {
                    tree.Flag("no-map");
                    tree.Numbers("reg", 0x0e10_0000, 0x00f0_0000);
                }

                using (tree.Node("optee_shm@42000000"))
                {
                    tree.Numbers("reg", 0x4200_0000, 0x0020_0000);
                }
            }

            using (tree.Node("firmware"))
            using (tree.Node("optee"))
            {
                tree.Cells("reg", 1, 2, 3, 4);
            }
        }

        Assert.That(ReservedMemoryReader.TryRead(tree.ToArray(), out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.EqualTo(new[] { new GuestRange(0x0e10_0000, 0x00f0_0000), Reserved }));
    }

    [Test]
    public void Read_CellsOfTheRoot_AreUsedWhereTheNodeHasNone()
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        {
            tree.Cells("#address-cells", 1);
            tree.Cells("#size-cells", 1);
            using (tree.Node("reserved-memory"))
            using (tree.Node("a"))
            {
                tree.Cells("reg", 0x4200_0000, 0x0020_0000, 0x5000_0000, 0x1000);
            }
        }

        Assert.That(ReservedMemoryReader.TryRead(tree.ToArray(), out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.EqualTo(new[] { Reserved, new GuestRange(0x5000_0000, 0x1000) }));
    }

    [Test]
    public void Read_ReservedMemoryBelowAnotherNode_IsIgnored()
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        using (tree.Node("soc"))
        using (tree.Node("reserved-memory"))
        using (tree.Node("a"))
        {
            tree.Numbers("reg", 1, 1);
        }

        Assert.That(ReservedMemoryReader.TryRead(tree.ToArray(), out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.Empty);
    }

    [Test]
    public void Read_RangeThatWraps_IsLeftOut()
    {
        Assert.That(
            ReservedMemoryReader.TryRead(OneRange(ulong.MaxValue, 2), out List<GuestRange> ranges),
            Is.True);
        Assert.That(ranges, Is.Empty);
    }

    [Test]
    public void Read_EveryBrokenVariant_NeverThrows()
    {
        byte[] whole = OneRange(1, 1);
        Random random = new(1);
        for (int round = 0; round < 20_000; round++)
        {
            byte[] broken = [.. whole];
            broken[random.Next(broken.Length)] = (byte)random.Next(256);
            broken[random.Next(broken.Length)] ^= (byte)(1 << random.Next(8));

            Assert.That(
                () => ReservedMemoryReader.TryRead(broken.AsSpan(0, random.Next(broken.Length + 1)), out _),
                Throws.Nothing);
        }
    }

    [Test]
    public void Read_NoDeviceTree_IsRefused()
    {
        Assert.That(ReservedMemoryReader.TryRead(new byte[4096], out _), Is.False);
        Assert.That(ReservedMemoryReader.TryRead([], out _), Is.False);
    }

    // An OP-TEE that its guest has taken over may have left it.
    [Test]
    public void Read_ManyPropertiesWhoseNamesHaveNoEnd_TakesNoLongerThanOthers()
    {
        const int Properties = 700_000;
        byte[] names = new byte[8 << 20];
        names.AsSpan().Fill((byte)'a');
        byte[] structure = new byte[sizeof(uint) * ((3 * Properties) + 4)];
        Span<byte> rest = structure;
        Append(ref rest, DeviceTreeFormat.BeginNode, 0);
        for (int count = 0; count < Properties; count++)
        {
            Append(ref rest, DeviceTreeFormat.Property, 0, 0);
        }

        Append(ref rest, DeviceTreeFormat.EndNode, DeviceTreeFormat.End);
        byte[] tree = [.. new byte[DeviceTreeFormat.HeaderSize], .. structure, .. names];
        foreach ((int field, int value) in ((int, int)[])
            [
                (0, unchecked((int)DeviceTreeFormat.Magic)),
                (DeviceTreeFormat.StructureOffset, DeviceTreeFormat.HeaderSize),
                (DeviceTreeFormat.StructureSize, structure.Length),
                (DeviceTreeFormat.StringsOffset, DeviceTreeFormat.HeaderSize + structure.Length),
                (DeviceTreeFormat.StringsSize, names.Length),
            ])
        {
            BinaryPrimitives.WriteInt32BigEndian(tree.AsSpan(field), value);
        }

        long begin = Stopwatch.GetTimestamp();
        Assert.That(ReservedMemoryReader.TryRead(tree, out List<GuestRange> ranges), Is.True);
        Assert.That(ranges, Is.Empty);
        Assert.That(Stopwatch.GetElapsedTime(begin), Is.LessThan(TimeSpan.FromSeconds(10)));
    }

    private static void Append(ref Span<byte> rest, params ReadOnlySpan<uint> words)
    {
        foreach (uint word in words)
        {
            BinaryPrimitives.WriteUInt32BigEndian(rest, word);
            rest = rest[sizeof(uint)..];
        }
    }

    private static byte[] OneRange(ulong start, ulong length)
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        using (tree.Node("reserved-memory"))
        using (tree.Node("a"))
        {
            tree.Numbers("reg", start, length);
        }

        return tree.ToArray();
    }
}
