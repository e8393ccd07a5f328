using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>An OP-TEE OS, as its build leaves it.</summary>
/// <remarks>
/// <para>What can be loaded: <c>tee.bin</c>; <c>tee-header_v2.bin</c> with <c>tee-pager_v2.bin</c> beside it; and
/// <c>tee-pager_v2.bin</c> or <c>tee-raw.bin</c> by itself, which do not say where they belong.</para>
/// <para>What an image must have: 64-bit, for EL1 under opteed (no <c>CFG_CORE_SEL2_SPMC</c>,
/// <c>CFG_CORE_SEL1_SPMC</c>), GICv3 with OP-TEE as its owner on its side, a device tree (<c>CFG_DT</c>) with dynamic
/// shared memory (<c>CFG_CORE_DYN_SHM</c>), no pager, no virtualization (<c>CFG_NS_VIRTUALIZATION</c>), no FF-A. The
/// secure physical timer is replaced when the image is loaded. Immutable, hence thread-safe: one image serves any
/// number of companions.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed class OpTeeImage
{
    /// <summary>Where Debian's <c>optee-os</c> has its image for <see cref="OpTeePlatform.QemuArmV8"/>.</summary>
    public const string DebianPath = "/usr/lib/optee/vexpress-qemu_armv8a/tee-pager_v2.bin";

    private const int LargestFile = 64 << 20;

    // struct optee_header: magic, version, arch, flags, then (version 1) init_size, init_load_addr_hi,
    // init_load_addr_lo, init_mem_usage, paged_size or (version 2) nb_images and for each image_load_addr_hi,
    // image_load_addr_lo, image_id, image_size.
    private const int HeaderSize = 28;
    private const int VersionOffset = 4;
    private const int ArchitectureOffset = 5;
    private const byte Arm64 = 1;

    private OpTeeImage(GuestAddress? address, byte[] content)
    {
        Address = address;
        Content = content;
    }

    /// <summary>Where the image belongs; <see langword="null"/>: at the beginning of the secure memory.</summary>
    public GuestAddress? Address { get; }

    /// <summary>The image's size in bytes.</summary>
    public int Length => Content.Length;

    internal byte[] Content { get; }

    /// <summary>Loads an image.</summary>
    /// <param name="path">Its file.</param>
    /// <exception cref="ArgumentNullException"><paramref name="path"/> is <see langword="null"/>.</exception>
    /// <exception cref="InvalidDataException">The file is no usable image; the message says what it is.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static OpTeeImage Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Parse(path, Read(path), Read);
    }

    /// <summary>Finds out what a file is.</summary>
    /// <param name="path">The file.</param>
    /// <param name="file">Its content.</param>
    /// <param name="read">Reads a file that lies beside it.</param>
    /// <exception cref="InvalidDataException">It is not an image that can be used.</exception>
    internal static OpTeeImage Parse(string path, byte[] file, Func<string, byte[]> read) =>
        file switch
        {
            [(byte)'O', (byte)'P', (byte)'T', (byte)'E', 1, ..] => FromHeader(path, file),
            [(byte)'O', (byte)'P', (byte)'T', (byte)'E', 2, ..] => FromHeaders(path, file, read),
            [0x7f, (byte)'E', (byte)'L', (byte)'F', ..] => throw new InvalidDataException(
                $"'{path}' is an ELF file, which lacks what OP-TEE's build adds to it (hashes and relocations); use"
                    + $" tee.bin, tee-pager_v2.bin or tee-raw.bin from the same folder."),
            { Length: < HeaderSize } =>
                throw new InvalidDataException($"'{path}' has {file.Length} bytes, which is no OP-TEE image."),
            _ => new OpTeeImage(null, file),
        };

    /// <summary>tee.bin: a header, then the image; a pageable part behind it would need OP-TEE's pager.</summary>
    private static OpTeeImage FromHeader(string path, byte[] file)
    {
        CheckHeader(path, file);
        uint size = Word(file, 8);
        uint pagedSize = Word(file, 24);
        if (pagedSize != 0)
        {
            throw new InvalidDataException(
                $"'{path}' has a pageable part of {pagedSize} bytes: build OP-TEE with CFG_WITH_PAGER=n.");
        }

        return size != 0 && size <= file.Length - HeaderSize
            ? new OpTeeImage(Pair(file, 12), file[HeaderSize..(HeaderSize + (int)size)])
            : throw new InvalidDataException(
                $"'{path}' has {file.Length} bytes, but its header promises an image of {size} bytes behind it.");
    }

    /// <summary>tee-header_v2.bin: a list of images that lie beside it, of which one is used.</summary>
    private static OpTeeImage FromHeaders(string path, byte[] file, Func<string, byte[]> read)
    {
        CheckHeader(path, file);
        uint images = Word(file, 8);
        uint size = Word(file, 24);
        if (images != 1)
        {
            throw new InvalidDataException(
                $"'{path}' lists {images} images, expected one: build OP-TEE with CFG_WITH_PAGER=n.");
        }

        string imagePath = Path.Combine(Path.GetDirectoryName(path) ?? "", "tee-pager_v2.bin");
        byte[] image = read(imagePath);
        return image.Length == size
            ? new OpTeeImage(Pair(file, 12), image)
            : throw new InvalidDataException(
                $"'{imagePath}' has {image.Length} bytes, but '{path}' promises {size}: not of the same build.");
    }

    private static void CheckHeader(string path, byte[] file)
    {
        if (file.Length < HeaderSize || file[ArchitectureOffset] != Arm64)
        {
            throw new InvalidDataException(
                $"'{path}' has OP-TEE's header of version {file[VersionOffset]}, {file.Length} bytes, and names"
                    + $" architecture {(file.Length > ArchitectureOffset ? file[ArchitectureOffset] : -1)}; expected"
                    + $" {HeaderSize} bytes or more and 1 (64-bit).");
        }
    }

    private static uint Word(byte[] file, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(offset));

    // The high half comes first.
    private static GuestAddress Pair(byte[] file, int offset) =>
        (ulong)Word(file, offset) << 32 | Word(file, offset + sizeof(uint));

    private static byte[] Read(string path)
    {
        using FileStream stream = File.OpenRead(path);
        if (stream.Length > LargestFile)
        {
            throw new InvalidDataException(
                $"'{path}' has {stream.Length} bytes; an OP-TEE image has less than {LargestFile}.");
        }

        byte[] content = new byte[stream.Length];
        stream.ReadExactly(content);
        return content;
    }
}
