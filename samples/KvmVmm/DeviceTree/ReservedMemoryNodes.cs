using OpTeeMediator.Memory;

namespace KvmVmm.DeviceTree;

/// <summary>The nodes that keep a kernel away from parts of its memory.</summary>
internal static class ReservedMemoryNodes
{
    /// <summary>Writes <c>/reserved-memory</c>. Source: Devicetree Specification, section 3.5.</summary>
    /// <param name="tree">The root is open.</param>
    /// <param name="ranges">What is reserved.</param>
    public static void WriteReservedMemory(this DeviceTreeWriter tree, IReadOnlyList<GuestRange> ranges)
    {
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
