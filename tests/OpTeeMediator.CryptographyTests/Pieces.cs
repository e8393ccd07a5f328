using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.CryptographyTests;

/// <summary>Feeds a message to an operation in pieces.</summary>
internal static class Pieces
{
    /// <summary>Sizes of pieces around each boundary of an operation: bytes, blocks, its internal chunks.</summary>
    public static IEnumerable<int> Sizes => [1, 3, 15, 16, 17, 31, 32, 33, 48, 100, 1023, 1024, 1025, 5000];

    public static byte[] Hex(string text) => Convert.FromHexString(text);

    public static byte[] Counting(int first, int count) =>
        [.. Enumerable.Range(first, count).Select(number => (byte)number)];

    /// <summary>Updates with pieces of a size; the destination is never larger than asked for.</summary>
    public static byte[] Run(CipherOperation operation, byte[] iv, ReadOnlySpan<byte> message, int size)
    {
        operation.Initialize(iv);
        List<byte> result = [];
        while (!message.IsEmpty)
        {
            ReadOnlySpan<byte> piece = message[..Math.Min(size, message.Length)];
            byte[] output = new byte[operation.GetUpdateSize(piece.Length)];
            int written = operation.Update(piece, output);
            Assert.That(written, Is.EqualTo(output.Length), "written by an update");
            result.AddRange(output);
            message = message[piece.Length..];
        }

        byte[] last = new byte[64];
        result.AddRange(last[..operation.Final([], last)]);
        return [.. result];
    }

    /// <summary>The same in place, with the last piece in the final call.</summary>
    public static byte[] RunInPlace(CipherOperation operation, byte[] iv, byte[] message, int size)
    {
        operation.Initialize(iv);
        byte[] data = [.. message];
        int read = 0;
        int written = 0;
        while (data.Length - read > size)
        {
            written += operation.Update(data.AsSpan(read, size), data.AsSpan(written));
            read += size;
        }

        written += operation.Final(data.AsSpan(read), data.AsSpan(written));
        Assert.That(written, Is.EqualTo(message.Length));
        return data;
    }

    public static byte[] Encrypt(
        AeadOperation operation, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> payload, Span<byte> tag, int size)
    {
        List<byte> result = Update(operation, associated, payload, size);
        byte[] last = new byte[payload.Length];
        result.AddRange(last[..operation.EncryptFinal([], last, tag)]);
        return [.. result];
    }

    public static byte[]? TryDecrypt(
        AeadOperation operation,
        ReadOnlySpan<byte> associated,
        ReadOnlySpan<byte> payload,
        ReadOnlySpan<byte> tag,
        int size)
    {
        List<byte> result = Update(operation, associated, payload, size);
        byte[] last = new byte[payload.Length];
        last.AsSpan().Fill(0xee);
        bool authentic = operation.TryDecryptFinal([], last, tag, out int written);
        result.AddRange(last[..written]);
        return authentic ? [.. result] : null;
    }

    private static List<byte> Update(
        AeadOperation operation, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> payload, int size)
    {
        while (!associated.IsEmpty)
        {
            ReadOnlySpan<byte> piece = associated[..Math.Min(size, associated.Length)];
            operation.UpdateAssociatedData(piece);
            associated = associated[piece.Length..];
        }

        List<byte> result = [];
        while (!payload.IsEmpty)
        {
            ReadOnlySpan<byte> piece = payload[..Math.Min(size, payload.Length)];
            byte[] output = new byte[operation.GetUpdateSize(piece.Length)];
            Assert.That(operation.Update(piece, output), Is.EqualTo(output.Length), "written by an update");
            result.AddRange(output);
            payload = payload[piece.Length..];
        }

        return result;
    }
}
