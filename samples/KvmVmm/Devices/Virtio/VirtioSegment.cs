namespace KvmVmm.Devices.Virtio;

/// <summary>A piece of guest memory of a chain.</summary>
/// <param name="Address">Where it begins, as the guest says.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="IsWritable">Whether the device writes it, and does not read it.</param>
internal readonly record struct VirtioSegment(ulong Address, uint Length, bool IsWritable);
