using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>Whether the host's TEE can serve guests, and in plain words why not.</summary>
internal static class TeeSupport
{
    private const uint Needed =
        TeeIoctl.GeneralGlobalPlatform | TeeIoctl.GeneralRegisterMemory | TeeIoctl.GeneralNullReference;

    private const string Alternatives = "Without it a VM can be served by a TEE in user space (SoftwareTeeBackend).";

    /// <summary>Checks an open device.</summary>
    /// <exception cref="TeeUnavailableException">It is no OP-TEE, or one that lacks something.</exception>
    internal static TeeVersionData Check(ITeeDevice device, string path)
    {
        int error = device.GetVersion(out TeeVersionData version);
        if (error != 0)
        {
            throw new TeeUnavailableException(
                $"{path} does not answer TEE_IOC_VERSION ({Errno.NameOf(error)}): it is not a device of the "
                    + $"kernel's TEE driver. Expected {LinuxTeeOptions.DefaultDevicePath}, /dev/tee1 and so on.");
        }

        if (version.ImplementationId != TeeIoctl.ImplementationOpTee)
        {
            throw new TeeUnavailableException(
                $"{path} is the device of another TEE (implementation {version.ImplementationId}); expected "
                    + $"OP-TEE ({TeeIoctl.ImplementationOpTee}). {Alternatives}");
        }

        if ((version.GeneralCapabilities & TeeIoctl.GeneralPrivileged) != 0)
        {
            throw new TeeUnavailableException(
                $"{path} is the device of the tee-supplicant; expected the clients' one, "
                    + $"{LinuxTeeOptions.DefaultDevicePath}.");
        }

        uint missing = Needed & ~version.GeneralCapabilities;
        return missing == 0
            ? version
            : throw new TeeUnavailableException(
                $"The OP-TEE behind {path} lacks {NamesOf(missing)} (capabilities "
                    + $"0x{version.GeneralCapabilities:x}, expected 0x{Needed:x}). It must be OP-TEE 3.10 or later, "
                    + $"built with dynamic shared memory (CFG_CORE_DYN_SHM=y). {Alternatives}");
    }

    internal static TeeUnavailableException OpenFailure(string path, int error) => new(
        $"Opening {path} failed with {Errno.NameOf(error)} ({Errno.TextOf(error)}). " + error switch
        {
            Errno.ENOENT or Errno.ENODEV or Errno.ENXIO =>
                "This host's kernel has no OP-TEE: it needs an arm64 machine whose firmware starts OP-TEE in the "
                    + "secure world, a device tree (or ACPI table) that names it, and the drivers tee and optee. "
                    + $"{Alternatives}",
            Errno.EACCES or Errno.EPERM =>
                "This process may not use the TEE: add its user to the group that owns the device (tee or teeclnt "
                    + "on most systems), or pass the device into its container.",
            Errno.EBUSY =>
                "It is in use, and it is one that only one process can use: /dev/teepriv0 and its like are the "
                    + $"tee-supplicant's. Expected the clients' one, {LinuxTeeOptions.DefaultDevicePath}.",
            Errno.EMFILE or Errno.ENFILE =>
                "Too many files are open: raise the limit (RLIMIT_NOFILE); each VM needs one, and one for each "
                    + "buffer it shares.",
            _ => "",
        });

    private static string NamesOf(uint capabilities)
    {
        (uint Capability, string Name)[] all =
        [
            (TeeIoctl.GeneralGlobalPlatform, "GlobalPlatform's interface (TEE_GEN_CAP_GP)"),
            (TeeIoctl.GeneralRegisterMemory, "registered memory (TEE_GEN_CAP_REG_MEM)"),
            (TeeIoctl.GeneralNullReference, "NULL references (TEE_GEN_CAP_MEMREF_NULL)"),
        ];
        return string.Join(", ", all.Where(one => (capabilities & one.Capability) != 0).Select(one => one.Name));
    }
}
