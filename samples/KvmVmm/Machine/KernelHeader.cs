using System.Buffers.Binary;

namespace KvmVmm.Machine;

/// <summary>The beginning of an arm64 kernel Image.</summary>
/// <remarks>
/// <code>
/// offset  8  text_offset: where the Image lies, counted from a multiple of 2 MiB
/// offset 16  image_size: the memory that the kernel needs from there on, more than the file
/// offset 24  flags: bit 0 big-endian
/// offset 56  "ARM\x64"
/// </code>
/// All little-endian. Source: Linux, Documentation/arch/arm64/booting.rst.
/// </remarks>
/// <param name="TextOffset">text_offset in bytes.</param>
/// <param name="ImageSize">image_size in bytes.</param>
internal readonly record struct KernelHeader(ulong TextOffset, ulong ImageSize)
{
    /// <summary>The header's length in bytes.</summary>
    private const int Length = 64;

    /// <summary>Reads the header of a kernel.</summary>
    /// <param name="kernel">The kernel's file.</param>
    /// <returns>The header.</returns>
    /// <exception cref="BootException">The file is no kernel that can be started.</exception>
    public static KernelHeader Read(BootFile kernel)
    {
        Span<byte> header = stackalloc byte[Length];
        kernel.Read(header[..(int)Math.Min(kernel.Length, Length)]);
        if (!header[56..60].SequenceEqual("ARMd"u8))
        {
            throw new BootException($"--kernel '{kernel.Path}' is no arm64 kernel Image: {Guess(header)}.");
        }

        const ulong BigEndian = 1;
        ulong flags = BinaryPrimitives.ReadUInt64LittleEndian(header[24..]);
        ulong imageSize = BinaryPrimitives.ReadUInt64LittleEndian(header[16..]);
        if ((flags & BigEndian) != 0 || imageSize == 0)
        {
            throw new BootException(
                $"--kernel '{kernel.Path}' is an Image with flags 0x{flags:x} and size {imageSize}; "
                + "expected a little-endian one of Linux 3.17 or later.");
        }

        return new KernelHeader(
            BinaryPrimitives.ReadUInt64LittleEndian(header[8..]), Math.Max(imageSize, (ulong)kernel.Length));
    }

    private static string Guess(ReadOnlySpan<byte> header) => header switch
    {
        [0x1f, 0x8b, ..] => "it is compressed with gzip; uncompress it with gunzip",
        [(byte)'M', (byte)'Z', 0, 0, (byte)'z', (byte)'i', (byte)'m', (byte)'g', ..] =>
            "it is a compressed EFI image (vmlinuz.efi); use the Image that it was made from",
        [0x7f, (byte)'E', (byte)'L', (byte)'F', ..] => "it is an ELF file (vmlinux?); use arch/arm64/boot/Image",
        [_, ..] when header[0x38..].IndexOfAnyExcept((byte)0) < 0 => "it is too short or empty",
        _ => "its bytes 56 to 59 are not \"ARMd\"",
    };
}
