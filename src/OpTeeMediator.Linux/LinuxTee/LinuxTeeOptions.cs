namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>How <see cref="LinuxTeeBackend"/> uses the host's TEE.</summary>
/// <remarks>Not thread-safe; read once, when the backend is created.</remarks>
public sealed class LinuxTeeOptions
{
    /// <summary>Where the host's TEE usually is.</summary>
    public const string DefaultDevicePath = "/dev/tee0";

    /// <summary>The device. A host with several TEEs has <c>/dev/tee1</c> and so on.</summary>
    public string DevicePath { get; set; } = DefaultDevicePath;

    /// <summary>As whom the TEE sees the clients in a guest.</summary>
    public LinuxTeeLogin Login { get; set; }

    /// <summary>How many bytes of memory one VM may share with the TEE at a time, counted in whole pages of the host; 16 MiB if not said.</summary>
    /// <remarks>
    /// The host's kernel pins these pages and charges them to no limit, and OP-TEE has room for some 42 MiB of all its clients: two VMs at their limit
    /// leave the host its share. On a host with pages of 64 KiB a buffer of 4 KiB counts as 64 KiB, for so much is pinned. GlobalPlatform wants 512 KiB at least; clients with media or models want more than 2 MiB.
    /// </remarks>
    public long MaximumSharedBytes { get; set; } = 16 << 20;

    /// <summary>How many buffers one VM may share with the TEE at a time, buffers of running calls among them; 256 if not said.</summary>
    /// <remarks>
    /// Each is a file descriptor of this process (RLIMIT_NOFILE, often 1024), and OP-TEE has room for some 1,300 of all its clients. A Linux guest needs
    /// a few for its driver and about four for each client at work.
    /// </remarks>
    public int MaximumRegistrations { get; set; } = 256;
}
