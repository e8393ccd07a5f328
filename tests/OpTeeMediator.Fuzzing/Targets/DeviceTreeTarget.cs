using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>The reader of the device tree that a companion's OP-TEE has changed.</summary>
internal sealed class DeviceTreeTarget : FuzzTarget
{
    public override int MaximumLength => 1024;

    public override IEnumerable<byte[]> Seeds
    {
        get
        {
            yield return MemoryDeviceTree.Write([new GuestRange(0x4000_0000, 1 << 28)], [1, 2, 3, 4, 5, 6, 7, 8]);
            for (uint cells = 0; cells < 4; cells++)
            {
                yield return Reserved(cells % 2 + 1, cells / 2 + 1);
            }
        }
    }

    public override void Execute(ReadOnlySpan<byte> input)
    {
        bool isTree = ReservedMemoryReader.TryRead(input, out List<GuestRange> ranges);
        Require(ranges.Count <= input.Length / sizeof(uint), "no more ranges than the tree has room for");
        foreach (GuestRange range in ranges)
        {
            Require(range.End.Value >= range.Start.Value, "a range has an end");
        }

        if (isTree)
        {
            // What follows the blocks that the header names does not count.
            Require(ReservedMemoryReader.TryRead([.. input, 0], out List<GuestRange> again)
                && again.Count == ranges.Count, "bytes may follow a tree");
        }
    }

    private static byte[] Reserved(uint addressCells, uint sizeCells)
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        {
            tree.Cells("#address-cells", addressCells);
            tree.Cells("#size-cells", sizeCells);
            using (tree.Node("reserved-memory"))
            {
                tree.Flag("ranges");
                using (tree.Node("optee_core@e100000"))
                {
                    tree.Flag("no-map");
                    tree.Numbers("reg", 0x0e10_0000, 0x00f0_0000);
                }
            }
        }

        return tree.ToArray();
    }
}
