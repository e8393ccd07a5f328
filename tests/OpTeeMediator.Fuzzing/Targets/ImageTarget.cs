using System.Buffers.Binary;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Linux.Companion;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>The header of an OP-TEE image for companions.</summary>
/// <remarks>An input: the file, with the image that lies beside it as its second half.</remarks>
internal sealed class ImageTarget : FuzzTarget
{
    public override int MaximumLength => 256;

    public override IEnumerable<byte[]> Seeds =>
    [
        new byte[40],
        [.. Header(1, 40, 0, 0x0e10_0000, 0x10_0000, 0), .. new byte[40]],
        [.. Header(2, 1, 0, 0x0e10_0000, 0, 28), .. new byte[28]],
        [0x7f, .. "ELF"u8, .. new byte[40]],
    ];

    public override void Execute(ReadOnlySpan<byte> input)
    {
        byte[] file = input.ToArray();
        byte[] beside = file[(file.Length / 2)..];
        try
        {
            OpTeeImage image = OpTeeImage.Parse("tee.bin", file, _ => beside);
            Require(image.Length > 0 && image.Length <= file.Length, "an image is a part of its files");
            Require(file.AsSpan().EndsWith(image.Content) || file.AsSpan().IndexOf(image.Content) >= 0,
                "and has their content");
        }
        catch (InvalidDataException exception)
        {
            Require(exception.Message.Contains("tee", StringComparison.Ordinal), "the message names the file");
        }
    }

    private static byte[] Header(byte version, params ReadOnlySpan<uint> words)
    {
        byte[] header = new byte[28];
        "OPTE"u8.CopyTo(header);
        header[4] = version;
        header[5] = 1;
        for (int index = 0; index < words.Length; index++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8 + (index * sizeof(uint))), words[index]);
        }

        return header;
    }
}
