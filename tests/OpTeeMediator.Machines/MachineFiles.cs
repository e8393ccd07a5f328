namespace OpTeeMediator.Machines;

/// <summary>What lies on the machine's disk: the guests' kernels, our VMM, programs that tests run.</summary>
public static class MachineFiles
{
    /// <summary>Our VMM, in the machine.</summary>
    public const string Vmm = "/files/kvmvmm/kvmvmm";

    /// <summary>A guest's kernel, in the machine.</summary>
    /// <param name="version"><c>6.12</c> or <c>6.1</c>.</param>
    /// <returns>Its path.</returns>
    public static string Kernel(string version) => $"/files/guest-{version}/Image";

    /// <summary>A guest's initramfs, in the machine.</summary>
    /// <param name="version"><c>6.12</c> or <c>6.1</c>.</param>
    /// <returns>Its path.</returns>
    public static string Initramfs(string version) => $"/files/guest-{version}/initramfs.cpio";
}
