namespace OpTeeMediator.Machines;

/// <summary>What lies on the machine's disk: the guests' kernels, our VMM, programs that tests run.</summary>
public static class MachineFiles
{
    /// <summary>Our VMM, in the machine.</summary>
    public const string Vmm = "/files/kvmvmm";

    /// <summary>The daemon with a TEE, in the machine.</summary>
    public const string Daemon = "/files/teedaemon";

    /// <summary>The checks of OpTeeMediator.Kvm, in the machine.</summary>
    public const string KvmChecks = "/files/kvm-checks";

    // Publishing the VMM and the checks takes most of it.
    private static readonly TimeSpan Builds = TimeSpan.FromMinutes(5);

    /// <summary>Makes the disk, and before it the images of the machines. Does nothing if
    /// <c>tests/run</c> has done so.</summary>
    /// <returns>The disk, for <see cref="MachineOptions.Disk"/>.</returns>
    public static async Task<string> BuildAsync()
    {
        if (Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_DISK") is { Length: > 0 } disk)
        {
            return disk;
        }

        string image =
            Path.Combine(MachineScripts.Repository, "artifacts", "machine-files", MachineScripts.Suite + ".img");
        await MachineScripts.BuildAsync();
        await MachineScripts.RunAsync(Deadlines.Scale(Builds), "files", image);
        return image;
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
