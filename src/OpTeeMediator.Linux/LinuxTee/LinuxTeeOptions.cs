using OpTeeMediator.Diagnostics;
using SystemCalls = OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>How <see cref="LinuxTeeBackend"/> uses the host's TEE. Every property has a default.</summary>
/// <remarks>Immutable after construction, hence thread-safe. The backend logs to the logger factory of each VM's
/// <see cref="OpTeeMediator.Guests.OpTeeGuestOptions"/>.</remarks>
public sealed record LinuxTeeOptions
{
    /// <summary>Where the host's TEE usually is.</summary>
    public const string DefaultDevicePath = "/dev/tee0";

    /// <summary>The device. Default <see cref="DefaultDevicePath"/>; others are <c>/dev/tee1</c> and so on.</summary>
    public string DevicePath { get; init; } = DefaultDevicePath;

    /// <summary>As whom the TEE sees the clients in a guest. Default <see cref="LinuxTeeLogin.Public"/>.</summary>
    public LinuxTeeLogin Login { get; init; }

    /// <summary>How many bytes of memory one VM may share with the TEE at a time, counted in whole pages of the host: 0
    /// or more. Default 16 MiB.</summary>
    /// <remarks>The host's kernel pins these pages and charges them to no limit, and OP-TEE has room for some 42 MiB of
    /// all its clients: two VMs at their limit leave the host its share. On a host with pages of 64 KiB a buffer of 4
    /// KiB counts as 64 KiB, because that much is pinned. GlobalPlatform wants 512 KiB at least; clients with media or
    /// models want more than 2 MiB.</remarks>
    public long MaximumSharedBytes { get; init; } = 16 << 20;

    /// <summary>How many buffers one VM may share with the TEE at a time, buffers of running calls among them: 0 or
    /// more. Default 256.</summary>
    /// <remarks>Each is a file descriptor of this process (RLIMIT_NOFILE, often 1024), and OP-TEE has room for some
    /// 1,300 of all its clients. Linux needs a few for its driver and about four for each client.</remarks>
    public int MaximumRegistrations { get; init; } = 256;

    internal void Validate()
    {
        const string Options = nameof(LinuxTeeOptions);
        SystemCalls.DevicePath.Check(DevicePath, $"{Options}.{nameof(DevicePath)}");
        OptionRange.Check(this, MaximumSharedBytes, 0, long.MaxValue);
        OptionRange.Check(this, MaximumRegistrations, 0, int.MaxValue);
        if (!Enum.IsDefined(Login))
        {
            throw new ArgumentOutOfRangeException(
                nameof(Login), Login, $"{Options}.{nameof(Login)} must be a value of {nameof(LinuxTeeLogin)}.");
        }
    }
}
