using KvmVmm.CommandLine;
using OpTeeMediator.Linux;
using OpTeeMediator.Memory;

namespace KvmVmm.Machine;

/// <summary>Kernel and initramfs, and where they and the device tree lie in memory.</summary>
/// <remarks>The kernel lies at the beginning, device tree and initramfs at the end, so that the kernel has the room between them in one piece.
/// A TEE that keeps memory for itself pushes the kernel up.</remarks>
internal sealed class BootImages : IDisposable
{
    // The kernel maps 2 MiB for the device tree, and it must not straddle a boundary of 2 MiB.
    private const ulong DeviceTreeArea = 2 << 20;
    private const ulong PageSize = 4096;

    private readonly BootFile _kernel;
    private readonly BootFile? _initrd;

    private BootImages(BootFile kernel, BootFile? initrd, GuestRange ram, IReadOnlyList<GuestRange> reserved)
    {
        _kernel = kernel;
        _initrd = initrd;

        KernelHeader header = KernelHeader.Read(kernel);
        ulong initrdLength = (ulong)(initrd?.Length ?? 0);
        Entry = Place(header, ram, reserved);
        ulong needed = Entry.Value - ram.Start.Value + header.ImageSize + initrdLength + PageSize + DeviceTreeArea;
        if (needed > ram.Length)
        {
            throw new BootException($"Kernel ({header.ImageSize >> 20} MiB) and initramfs ({initrdLength >> 20} MiB) do not fit into {ram.Length >> 20} MiB of memory; give --memory {(needed >> 20) * 2} or more.");
        }

        DeviceTree = ram.End.Value - DeviceTreeArea;
        Initrd = new GuestRange((DeviceTree.Value - initrdLength) & ~(PageSize - 1), initrdLength);
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
        BootFile? initrd = options.Initrd is null ? null : BootFile.Open("--initrd", options.Initrd);
        return new BootImages(kernel, initrd, ram, reserved);
    }

    /// <summary>Puts everything into memory.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="deviceTree">The device tree.</param>
    public void Load(MemfdGuestMemory memory, ReadOnlySpan<byte> deviceTree)
    {
        if ((ulong)deviceTree.Length > DeviceTreeArea || !memory.TryWrite(DeviceTree, deviceTree))
        {
            throw new BootException($"The device tree has {deviceTree.Length} bytes; expected at most {DeviceTreeArea}: give a shorter --cmdline.");
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

    /// <summary>The first place for the kernel that keeps clear of what is reserved.</summary>
    private static GuestAddress Place(KernelHeader header, GuestRange ram, IReadOnlyList<GuestRange> reserved)
    {
        const ulong KernelAlignment = 2 << 20;
        GuestRange kernel = new(ram.Start.Add(header.TextOffset), header.ImageSize);
        while (reserved.Any(range => range.Overlaps(kernel)))
        {
            kernel = new GuestRange(kernel.Start.Add(KernelAlignment), kernel.Length);
        }

        return kernel.Start;
    }

    private static void Load(MemfdGuestMemory memory, BootFile file, GuestAddress address)
    {
        if (!memory.TryGetWindow(address, (int)file.Length, out Span<byte> window))
        {
            throw new BootException($"'{file.Path}' does not fit into memory at {address}.");
        }

        file.Read(window);
    }
}
