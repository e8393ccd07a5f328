using System.Security.Cryptography;
using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.CryptographyTests;

public sealed class RsaTests
{
    [TestCase(1024)]
    [TestCase(2048)]
    public void ProcessPrivate_CiphertextOfDotNet_GivesThePaddedMessage(int bits)
    {
        using RSA rsa = RSA.Create(bits);
        using RsaNoPadding operation = new(rsa.ExportParameters(includePrivateParameters: true));
        byte[] message = Pieces.Counting(1, 20);
        byte[] block = new byte[operation.Size];
        operation.ProcessPrivate(rsa.Encrypt(message, RSAEncryptionPadding.Pkcs1), block);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(operation.Size, Is.EqualTo(bits / 8));
            Assert.That(block[..2], Is.EqualTo((byte[])[0, 2]));
            Assert.That(block[^21..], Is.EqualTo((byte[])[0, .. message]));
        }
    }

    [Test]
    public void ProcessPublic_SignatureOfDotNet_GivesThePaddedHash()
    {
        using RSA rsa = RSA.Create(2048);
        using RsaNoPadding operation = new(rsa.ExportParameters(includePrivateParameters: false));
        byte[] hash = SHA256.HashData("text"u8);
        byte[] block = rsa.SignHash(hash, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        operation.ProcessPublic(block, block);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(block[..4], Is.EqualTo((byte[])[0, 1, 0xff, 0xff]));
            Assert.That(block[^32..], Is.EqualTo(hash));
        }
    }

    [Test]
    public void ProcessPublic_PaddedByHand_IsDecryptedByDotNet()
    {
        using RSA rsa = RSA.Create(2048);
        using RsaNoPadding operation = new(rsa.ExportParameters(includePrivateParameters: false));
        byte[] message = Pieces.Counting(9, 30);
        byte[] block = [0, 2, .. Enumerable.Repeat((byte)7, 256 - 33), 0, .. message];
        operation.ProcessPublic(block, block);
        Assert.That(rsa.Decrypt(block, RSAEncryptionPadding.Pkcs1), Is.EqualTo(message));
    }

    [Test]
    public void Process_SmallNumbers_AreFilledUpWithZeros()
    {
        using RSA rsa = RSA.Create(1024);
        using RsaNoPadding operation = new(rsa.ExportParameters(includePrivateParameters: true));
        byte[] block = [.. Enumerable.Repeat((byte)0xee, 128)];
        operation.ProcessPublic([3], block);
        operation.ProcessPrivate(block, block);
        Assert.That(block, Is.EqualTo((byte[])[.. new byte[127], 3]));
    }

    [Test]
    public void Process_NumberOutOfRange_IsRefused()
    {
        using RSA rsa = RSA.Create(1024);
        RSAParameters key = rsa.ExportParameters(includePrivateParameters: true);
        using RsaNoPadding operation = new(key);
        byte[] output = new byte[128];
        using (Assert.EnterMultipleScope())
        {
            AssertRefused(() => operation.ProcessPublic(key.Modulus, output));
            AssertRefused(() => operation.ProcessPrivate(key.Modulus, output));
            AssertRefused(() => operation.ProcessPublic([0, .. key.Modulus!], output));
            AssertRefused(() => operation.ProcessPublic([1], output));
            AssertRefused(() => operation.ProcessPrivate([], output));
            Assert.That(() => operation.ProcessPublic([2], new byte[127]), Throws.ArgumentException);
        }
    }

    [Test]
    public void ProcessPrivate_MembersThatDoNotBelongTogether_GivesNothing()
    {
        using RSA rsa = RSA.Create(1024);
        RSAParameters key = rsa.ExportParameters(includePrivateParameters: true);
        key.DP![5] ^= 1;
        using RsaNoPadding operation = new(key);
        byte[] output = new byte[128];
        AssertRefused(() => operation.ProcessPrivate([2], output));
        Assert.That(output, Is.EqualTo(new byte[128]), "a faulty result would reveal the key");
    }

    [Test]
    public void Constructor_NoKey_IsRefused()
    {
        using RSA rsa = RSA.Create(1024);
        RSAParameters key = rsa.ExportParameters(includePrivateParameters: true);
        RSAParameters publicKey = rsa.ExportParameters(includePrivateParameters: false);
        RSAParameters incomplete = key with { InverseQ = null };
        RSAParameters even = publicKey with { Modulus = [.. publicKey.Modulus![..^1], 2] };
        RSAParameters large = publicKey with { Modulus = [.. Enumerable.Repeat((byte)0xff, 513)] };
        using (Assert.EnterMultipleScope())
        {
            foreach (RSAParameters wrong in (RSAParameters[])[default, incomplete, even, large])
            {
                Assert.That(() => new RsaNoPadding(wrong), Throws.InstanceOf<CryptographicException>());
            }

            using RsaNoPadding operation = new(publicKey);
            Assert.That(() => operation.ProcessPrivate([1], new byte[128]), Throws.InvalidOperationException);
            operation.Dispose();
            Assert.That(
                () => operation.ProcessPublic([1], new byte[128]), Throws.InstanceOf<ObjectDisposedException>());
        }
    }

    private static void AssertRefused(Action action) =>
        Assert.That(action, Throws.InstanceOf<CryptographicException>());
}
