using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The device tree that OP-TEE is started with: the guest's memory, and a seed.</summary>
/// <remarks>OP-TEE learns from it which addresses a guest may share, and adds the ranges that it reserves, for
/// <see cref="ReservedMemoryReader"/>.</remarks>
internal static class MemoryDeviceTree
{
    /// <param name="memory">The guest's RAM.</param>
    /// <param name="seed">The seed of OP-TEE's virtual addresses, 8 bytes, or nothing: then OP-TEE stays where it was
    /// linked. A <c>secure-chosen</c> without <c>stdout-path</c> also disables OP-TEE's console.</param>
    internal static byte[] Write(ReadOnlySpan<GuestRange> memory, ReadOnlySpan<byte> seed)
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        {
            tree.Text("compatible", "linux,dummy-virt");
            tree.Cells("#address-cells", 2);
            tree.Cells("#size-cells", 2);
            foreach (GuestRange range in memory)
            {
                using (tree.Node($"memory@{range.Start.Value:x}"))
                {
                    tree.Text("device_type", "memory");
                    tree.Numbers("reg", range.Start.Value, range.Length);
                }
            }

            if (!seed.IsEmpty)
            {
                using (tree.Node("secure-chosen"))
                {
                    tree.Property("kaslr-seed", seed);
                }
            }
        }

        return tree.ToArray();
    }
}
