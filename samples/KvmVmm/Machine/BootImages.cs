using KvmVmm.CommandLine;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace KvmVmm.Machine;

/// <summary>Kernel and initramfs, and where they and the device tree lie in memory.</summary>
/// <remarks>
/// The kernel lies at the beginning, device tree and initramfs at the end, so that the kernel has the room between them
/// in one piece. None of them lies where a TEE keeps memory for itself. Source: Linux,
/// Documentation/arch/arm64/booting.rst.
/// </remarks>
internal sealed class BootImages : IDisposable
{
    // The kernel maps 2 MiB for the device tree, and it must not straddle a boundary of 2 MiB.
    private const ulong DeviceTreeArea = 2 << 20;
    private const ulong KernelAlignment = 2 << 20;
    private const ulong PageSize = 4096;

    // Kernel and initramfs must lie within so much, counted from a multiple of 1 GiB.
    private const ulong LargestDistance = 32UL << 30;
    private const ulong DistanceAlignment = 1 << 30;

    private readonly BootFile _kernel;
    private readonly BootFile? _initrd;

    private BootImages(BootFile kernel, BootFile? initrd, GuestRange ram, IReadOnlyList<GuestRange> reserved)
    {
        _kernel = kernel;
        _initrd = initrd;

        KernelHeader header = KernelHeader.Read(kernel);
        ulong initrdLength = (ulong)(initrd?.Length ?? 0);
        foreach (GuestAddress start in reserved.Select(range => range.End).Prepend(ram.Start).Order())
        {
            if (TryPlace(header, initrdLength, AlignUp(start, KernelAlignment), ram, reserved, out Placement placement))
            {
                Entry = placement.Entry;
                DeviceTree = placement.DeviceTree;
                Initrd = placement.Initrd;
                return;
            }
        }

        string keeps = reserved.Count == 0 ? "" : $" beside what the TEE keeps ({string.Join(", ", reserved)})";
        ulong needed =
            (header.TextOffset >> 20) + (header.ImageSize >> 20) + (initrdLength >> 20) + (DeviceTreeArea >> 20);
        throw new BootException(
            $"Kernel ({header.ImageSize >> 20} MiB), initramfs ({initrdLength >> 20} MiB) and device tree do not fit "
            + $"into {ram.Length >> 20} MiB of memory{keeps}; give --memory {needed * 2} or more.");
    }

    /// <summary>The kernel's first instruction.</summary>
    public GuestAddress Entry { get; }

    /// <summary>Where the device tree lies.</summary>
    public GuestAddress DeviceTree { get; }

    /// <summary>Where the initramfs lies; empty if there is none.</summary>
    public GuestRange Initrd { get; }

    /// <summary>Opens the files.</summary>
    /// <param name="options">Names them.</param>
    /// <param name="ram">The guest's memory.</param>
    /// <param name="reserved">Where nothing may lie.</param>
    /// <returns>The images.</returns>
    /// <exception cref="BootException">They cannot be used.</exception>
    public static BootImages Open(VmmOptions options, GuestRange ram, IReadOnlyList<GuestRange> reserved)
    {
        BootFile kernel = BootFile.Open("--kernel", options.Kernel);
        BootFile? initrd = null;
        try
        {
            initrd = options.Initrd is null ? null : BootFile.Open("--initrd", options.Initrd);
            return new BootImages(kernel, initrd, ram, reserved);
        }
        catch
        {
            initrd?.Dispose();
            kernel.Dispose();
            throw;
        }
    }

    /// <summary>Puts everything into memory.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="deviceTree">The device tree.</param>
    public void Load(MemfdGuestMemory memory, ReadOnlySpan<byte> deviceTree)
    {
        if ((ulong)deviceTree.Length > DeviceTreeArea || !memory.TryWrite(DeviceTree, deviceTree))
        {
            throw new BootException(
                $"The device tree has {deviceTree.Length} bytes; expected at most {DeviceTreeArea}: "
                + "give a shorter --cmdline.");
        }

        Load(memory, _kernel, Entry);
        if (_initrd is not null)
        {
            Load(memory, _initrd, Initrd.Start);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _kernel.Dispose();
        _initrd?.Dispose();
    }

    /// <summary>Finds places for all three, the kernel at or above an address.</summary>
    private static bool TryPlace(
        KernelHeader header, ulong initrdLength, ulong kernelStart, GuestRange ram, IReadOnlyList<GuestRange> reserved,
        out Placement placement)
    {
        placement = default;
        ulong end = ram.End.Value;
        if (kernelStart >= end
            || header.TextOffset > end - kernelStart
            || header.ImageSize > end - kernelStart - header.TextOffset)
        {
            return false;
        }

        GuestRange kernel = new(kernelStart + header.TextOffset, header.ImageSize);
        if (reserved.Any(range => range.Overlaps(kernel)))
        {
            return false;
        }

        ulong window = kernel.Start.Value & ~(DistanceAlignment - 1);
        ulong top = end - window > LargestDistance ? window + LargestDistance : end;
        if (!TryPlaceBelow(top, DeviceTreeArea, DeviceTreeArea, ram, [.. reserved, kernel], out GuestRange tree)
            || !TryPlaceBelow(top, initrdLength, PageSize, ram, [.. reserved, kernel, tree], out GuestRange initrd))
        {
            return false;
        }

        placement = new Placement(kernel.Start, tree.Start, initrd);
        return true;
    }

    /// <summary>Finds the highest place below an address that overlaps nothing.</summary>
    private static bool TryPlaceBelow(
        ulong top, ulong length, ulong alignment, GuestRange ram, GuestRange[] taken, out GuestRange place)
    {
        place = default;
        while (top >= length && ((top - length) & ~(alignment - 1)) >= ram.Start.Value)
        {
            place = new GuestRange((top - length) & ~(alignment - 1), length);
            GuestRange candidate = place;
            GuestRange? obstacle =
                taken.Where(range => range.Overlaps(candidate)).Select(range => (GuestRange?)range).FirstOrDefault();
            if (obstacle is null)
            {
                return true;
            }

            top = obstacle.Value.Start.Value;
        }

        return false;
    }

    private static ulong AlignUp(GuestAddress address, ulong alignment) =>
        (address.Value + alignment - 1) & ~(alignment - 1);

    private static void Load(MemfdGuestMemory memory, BootFile file, GuestAddress address)
    {
        if (!memory.TryGetWindow(address, (int)file.Length, out Span<byte> window))
        {
            throw new BootException($"'{file.Path}' does not fit into memory at {address}.");
        }

        file.Read(window);
    }

    private readonly record struct Placement(GuestAddress Entry, GuestAddress DeviceTree, GuestRange Initrd);
}
