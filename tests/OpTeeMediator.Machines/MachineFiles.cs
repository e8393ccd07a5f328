namespace OpTeeMediator.Machines;

/// <summary>What lies on the machine's disk: the guests' kernels, our VMM, programs that tests run.</summary>
public static class MachineFiles
{
    /// <summary>Our VMM, in the machine.</summary>
    public const string Vmm = "/files/kvmvmm";

    // The first time everything is downloaded, and the native compiler with it.
    private static readonly TimeSpan Builds = TimeSpan.FromMinutes(15);

    /// <summary>Makes the files, or what of them is not there yet.</summary>
    /// <returns>The folder that holds them, on this machine.</returns>
    public static async Task<string> BuildAsync()
    {
        string folder = Path.Combine(MachineScripts.Repository, "artifacts", "machine-files", MachineScripts.Suite);
        await MachineScripts.RunAsync(Builds, "files", folder);
        return folder;
    }

    /// <summary>A guest's kernel, in the machine.</summary>
    /// <param name="version">As <see cref="GuestOptions.Kernel"/>.</param>
    /// <returns>Its path.</returns>
    public static string Kernel(string version) => $"/files/guest-{version}/Image";

    /// <summary>A guest's initramfs, in the machine.</summary>
    /// <param name="version">As <see cref="GuestOptions.Kernel"/>.</param>
    /// <returns>Its path.</returns>
    public static string Initramfs(string version) => $"/files/guest-{version}/initramfs.cpio";

    /// <summary>What the VMM can run instead of a kernel, in the machine.</summary>
    /// <param name="name">Its name: that of its source in tests/machines/guests.</param>
    /// <returns>Its path.</returns>
    public static string BareGuest(string name) => $"/files/guests/{name}";

    /// <summary>A program for machine and guests, in the machine.</summary>
    /// <param name="name">Its name: that of its source in tests/machines/programs or tests/machines/examples.</param>
    /// <returns>Its path.</returns>
    public static string Program(string name) => $"/files/programs/{name}";
}
