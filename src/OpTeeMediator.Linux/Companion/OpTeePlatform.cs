using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The platform that an OP-TEE image was built for: where its memory and its devices lie.</summary>
/// <remarks>Without other values it is that of OP-TEE's <c>PLATFORM=vexpress-qemu_armv8a</c>, which is also Debian's.
/// Guest RAM may not overlap any of these. Immutable after construction, hence thread-safe.</remarks>
[Experimental("OPTEE001")]
public sealed record OpTeePlatform
{
    /// <summary>The platform <c>vexpress-qemu_armv8a</c>.</summary>
    public static OpTeePlatform QemuArmV8 { get; } = new();

    /// <summary>OP-TEE's own memory (CFG_TZDRAM_START, CFG_TZDRAM_SIZE), whole pages. Costs what is touched.</summary>
    public GuestRange SecureMemory { get; init; } = new(0x0e10_0000, 0x00f0_0000);

    /// <summary>Where OP-TEE expects the GICv3's distributor (GICD_BASE).</summary>
    public GuestAddress GicDistributor { get; init; } = 0x0800_0000;

    /// <summary>Where OP-TEE expects the redistributors (GICR_BASE), 128 KiB for each core.</summary>
    public GuestAddress GicRedistributors { get; init; } = 0x080a_0000;

    /// <summary>Where OP-TEE expects its PL011 (CONSOLE_UART_BASE); a multiple of 64 KiB.</summary>
    public GuestAddress Uart { get; init; } = 0x0904_0000;

    /// <summary>Where the device tree is put that OP-TEE gets: 2 MiB that are used for nothing else.</summary>
    public GuestAddress DeviceTree { get; init; } = 0x0d00_0000;

    /// <summary>The number of cores that OP-TEE was built for (CFG_TEE_CORE_NB_CORE), 1 to 16.</summary>
    public int Cores { get; init; } = 4;

    internal void Validate(string owner)
    {
        if (Cores is < 1 or > 16)
        {
            throw new ArgumentException($"{owner}.{nameof(Cores)} is {Cores}; it must be 1 to 16.");
        }

        ulong page = (ulong)Environment.SystemPageSize;
        if (SecureMemory.Length == 0 || SecureMemory.Length % page != 0 || !SecureMemory.Start.IsAligned(page)
            || !Uart.IsAligned(page) || !DeviceTree.IsAligned(page))
        {
            throw new ArgumentException(
                $"{owner}: {nameof(SecureMemory)} {SecureMemory}, {nameof(Uart)} {Uart} and {nameof(DeviceTree)}"
                    + $" {DeviceTree} must be aligned to the host's pages of {page} bytes.");
        }
    }
}
