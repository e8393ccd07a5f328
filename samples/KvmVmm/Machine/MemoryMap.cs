using OpTeeMediator.Memory;

namespace KvmVmm.Machine;

/// <summary>Where everything lies in the guest's addresses, and its interrupts.</summary>
/// <remarks>
/// <code>
/// 0x0800_0000  GIC distributor, 64 KiB
/// 0x080a_0000  GIC redistributors, 128 KiB per vCPU
/// 0x0900_0000  UART, 4 KiB
/// 0x0a00_0000  disk (virtio over MMIO), 4 KiB
/// 0x4000_0000  RAM: kernel at its beginning; initramfs and device tree at its end
/// </code>
/// </remarks>
internal static class MemoryMap
{
    /// <summary>The first interrupt of a GIC that is not private to a CPU.</summary>
    public const int FirstSharedInterrupt = 32;

    /// <summary>How many interrupts the GIC has, the private ones among them.</summary>
    public const int InterruptCount = 64;

    /// <summary>The UART's interrupt.</summary>
    public const int UartInterrupt = FirstSharedInterrupt + 1;

    /// <summary>The interrupt by which the TEE notifies the guest.</summary>
    public const int TeeInterrupt = FirstSharedInterrupt + 2;

    /// <summary>The disk's interrupt.</summary>
    public const int DiskInterrupt = FirstSharedInterrupt + 3;

    /// <summary>As many vCPUs as redistributors fit before the UART.</summary>
    public const int MaximumCpus = (int)((UartStart - RedistributorsStart) / RedistributorSize);

    private const ulong RedistributorsStart = 0x080a_0000;
    private const ulong RedistributorSize = 128 << 10;
    private const ulong UartStart = 0x0900_0000;

    /// <summary>The GIC's distributor.</summary>
    public static GuestRange GicDistributor { get; } = new(0x0800_0000, 64 << 10);

    public static GuestRange Uart { get; } = new(UartStart, 4 << 10);

    public static GuestRange Disk { get; } = new(0x0a00_0000, 4 << 10);

    /// <summary>Where RAM begins.</summary>
    public static GuestAddress RamStart { get; } = 0x4000_0000;

    /// <summary>The GIC's redistributors, one per vCPU.</summary>
    /// <param name="cpuCount">The number of vCPUs.</param>
    /// <returns>Their addresses.</returns>
    public static GuestRange GicRedistributors(int cpuCount) =>
        new(RedistributorsStart, (ulong)cpuCount * RedistributorSize);
}
