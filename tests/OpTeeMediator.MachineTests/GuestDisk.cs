using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>A disk of a guest, on which its stock tee-supplicant keeps the files of its TEE.</summary>
internal static class GuestDisk
{
    /// <summary>Where Debian's tee-supplicant keeps them.</summary>
    public const string Files = "/var/lib/optee-client/data/tee";

    /// <summary>Makes an empty disk.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="path">Its file on the machine.</param>
    /// <returns>A task.</returns>
    public static async Task MakeAsync(Machine machine, string path) =>
        (await machine.RunAsync($"dd if=/dev/zero of={path} bs=1M count=16 2> /dev/null")).Succeeded();

    /// <summary>Mounts the disk in the guest and starts its supplicant.</summary>
    /// <param name="guest">The guest, which has started.</param>
    /// <param name="isNew">Whether the disk is empty.</param>
    /// <returns>A task.</returns>
    /// <remarks>Synchronously, as a journal would: what the supplicant has written outlives kill -9 of the
    /// VMM.</remarks>
    public static async Task MountAsync(Guest guest, bool isNew = false) => (await guest.RunAsync(
        "for module in virtio_mmio virtio_blk ext4; do modprobe $module; done; "
        + "until [ -e /dev/vda ]; do sleep 0.1; done; "
        + (isNew ? "mke2fs /dev/vda > /dev/null && " : "")
        + $"mkdir -p {Files} && mount -t ext4 -o sync,dirsync /dev/vda {Files} && tee-supplicant -d")).Succeeded();
}
