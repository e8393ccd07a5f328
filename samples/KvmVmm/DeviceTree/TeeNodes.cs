using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace KvmVmm.DeviceTree;

/// <summary>The nodes of a guest that has an OP-TEE.</summary>
internal static class TeeNodes
{
    /// <summary>Writes the node by which a guest finds its OP-TEE: without it no guest looks for one.</summary>
    /// <param name="tree">The root is open.</param>
    /// <param name="node">What it says.</param>
    public static void WriteOpTee(this DeviceTreeWriter tree, OpTeeDeviceTreeNode node)
    {
        const uint SharedInterrupt = 0;
        const uint RisingEdge = 1;
        using (tree.Node(OpTeeDeviceTreeNode.ParentName))
        using (tree.Node(OpTeeDeviceTreeNode.Name))
        {
            tree.Text("compatible", OpTeeDeviceTreeNode.Compatible);
            tree.Text("method", OpTeeDeviceTreeNode.Method);
            if (node.Spi is int spi)
            {
                tree.Cells("interrupts", SharedInterrupt, (uint)spi, RisingEdge);
            }
        }
    }

    /// <summary>
    /// Writes <c>/reserved-memory</c>, which keeps a kernel away from parts of its memory. Source: Devicetree
    /// Specification, section 3.5.
    /// </summary>
    /// <param name="tree">The root is open.</param>
    /// <param name="ranges">What is reserved; nothing is written if that is nothing.</param>
    public static void WriteReservedMemory(this DeviceTreeWriter tree, IReadOnlyList<GuestRange> ranges)
    {
        if (ranges.Count == 0)
        {
            return;
        }

        using (tree.Node("reserved-memory"))
        {
            tree.Cells("#address-cells", 2);
            tree.Cells("#size-cells", 2);
            tree.Flag("ranges");
            foreach (GuestRange range in ranges)
            {
                using (tree.Node($"optee@{range.Start.Value:x}"))
                {
                    tree.Numbers("reg", range.Start.Value, range.Length);
                    tree.Flag("no-map");
                }
            }
        }
    }
}
