using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about algorithms; a test runs it and compares it with the pages.</summary>
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
}
