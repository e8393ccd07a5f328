using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.CryptographyTests;

public sealed class CmacTests
{
    private const string Text =
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            + "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

    private const string Key128 = "2b7e151628aed2a6abf7158809cf4f3c";
    private const string Key192 = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b";
    private const string Key256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";

    // RFC 4493 (lengths 0, 16, 40, 64 with 128 bits) and NIST's examples for SP 800-38B.
    [TestCase(Key128, 0, "bb1d6929e95937287fa37d129b756746")]
    [TestCase(Key128, 16, "070a16b46b4d4144f79bdd9dd04a287c")]
    [TestCase(Key128, 20, "7d85449ea6ea19c823a7bf78837dfade")]
    [TestCase(Key128, 40, "dfa66747de9ae63030ca32611497c827")]
    [TestCase(Key128, 64, "51f0bebf7e3b9d92fc49741779363cfe")]
    [TestCase(Key192, 0, "d17ddf46adaacde531cac483de7a9367")]
    [TestCase(Key192, 16, "9e99a7bf31e710900662f65e617c5184")]
    [TestCase(Key192, 20, "3d75c194ed96070444a9fa7ec740ecf8")]
    [TestCase(Key192, 64, "a1d5df0eed790f794d77589659f39a11")]
    [TestCase(Key256, 0, "028962f61b7bf89efc6b551f4667d983")]
    [TestCase(Key256, 16, "28a7023f452e8f82bd4bf28d8c37c35c")]
    [TestCase(Key256, 20, "156727dc0878944a023c1fe03bad6d93")]
    [TestCase(Key256, 64, "e1992190549f6ed5696a2c056c315410")]
    public void Cmac_Sp80038B_GivesCode(string key, int length, string code)
    {
        using AesCmac operation = new(Pieces.Hex(key));
        byte[] text = Pieces.Hex(Text)[..length];
        foreach (int size in Pieces.Sizes)
        {
            byte[] mac = new byte[AesCmac.MacSize];
            Update(operation, text, size);
            operation.Final(mac);
            Assert.That(mac, Is.EqualTo(Pieces.Hex(code)), $"{size}");
            Update(operation, text, size);
            Assert.That(operation.VerifyFinal(mac), Is.True);
        }
    }

    [Test]
    public void VerifyFinal_OtherCode_ReturnsFalse()
    {
        using AesCmac operation = new(Pieces.Hex(Key128));
        byte[] mac = new byte[AesCmac.MacSize];
        operation.Final(mac);
        for (int bit = 0; bit < mac.Length * 8; bit++)
        {
            mac[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(operation.VerifyFinal(mac), Is.False, $"bit {bit}");
            mac[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        using (Assert.EnterMultipleScope())
        {
            Assert.That(operation.VerifyFinal(mac.AsSpan(0, 15)), Is.False, "shorter");
            Assert.That(operation.VerifyFinal([]), Is.False, "empty");
            Assert.That(operation.VerifyFinal(mac), Is.True);
        }
    }

    [Test]
    public void Final_WrongUse_Throws()
    {
        AesCmac operation = new(Pieces.Hex(Key128));
        operation.Update(Pieces.Hex(Text).AsSpan(0, 16));
        _ = Assert.Throws<ArgumentException>(() => operation.Final(new byte[15]));
        Assert.That(operation.VerifyFinal(Pieces.Hex("070a16b46b4d4144f79bdd9dd04a287c")), Is.True, "goes on");
        operation.Dispose();
        _ = Assert.Throws<ObjectDisposedException>(() => operation.Update([]));
        _ = Assert.Throws<ObjectDisposedException>(() => operation.Final(new byte[16]));
        _ = Assert.Throws<ArgumentException>(() => _ = new AesCmac(new byte[17]));
    }

    private static void Update(AesCmac operation, ReadOnlySpan<byte> text, int size)
    {
        while (!text.IsEmpty)
        {
            ReadOnlySpan<byte> piece = text[..Math.Min(size, text.Length)];
            operation.Update(piece);
            text = text[piece.Length..];
        }
    }
}
