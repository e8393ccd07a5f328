using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippets about algorithms; a test compares them with the pages.</summary>
internal static class Cryptography
{
    internal static byte[] Authenticate(ReadOnlySpan<byte> key, ReadOnlySpan<byte> message)
    {
        // <snippet>
        using var cmac = new AesCmac(key); // TEE_ALG_AES_CMAC
        cmac.Update(message);
        byte[] tag = new byte[16];
        cmac.Final(tag);
        // </snippet>
        return tag;
    }

    internal static int Encrypt(
        byte[] key, byte[] nonce, byte[] header, byte[] firstPiece, byte[] lastPiece, byte[] output, byte[] tag)
    {
        // <snippet>
        using AesGcmOperation operation = new(key, encrypts: true);
        operation.Initialize(nonce, tagSize: 16);
        operation.UpdateAssociatedData(header);
        int written = operation.Update(firstPiece, output);
        written += operation.EncryptFinal(lastPiece, output.AsSpan(written), tag);
        // </snippet>
        return written;
    }
}
