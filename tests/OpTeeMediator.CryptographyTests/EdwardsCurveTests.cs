using System.Security.Cryptography;
using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.CryptographyTests;

public sealed class EdwardsCurveTests
{
    private const string HashKey = "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42";
    private const string HashPublicKey = "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf";

    // RFC 8032, section 7.1.
    [TestCase(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            + "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b")]
    [TestCase(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            + "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")]
    [TestCase(
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            + "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")]
    [TestCase(
        HashKey,
        HashPublicKey,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            + "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704")]
    public void Sign_Rfc8032_GivesSignature(string key, string publicKey, string message, string signature)
    {
        using Ed25519PrivateKey signer = new(Pieces.Hex(key));
        byte[] actual = new byte[64];
        signer.Sign(Pieces.Hex(message), actual);
        Ed25519PublicKey verifier = new(signer.PublicKey.Span);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(signer.PublicKey.ToArray(), Is.EqualTo(Pieces.Hex(publicKey)));
            Assert.That(actual, Is.EqualTo(Pieces.Hex(signature)));
            Assert.That(verifier.Verify(Pieces.Hex(message), actual), Is.True);
            Assert.That(verifier.Verify([.. Pieces.Hex(message), 0], actual), Is.False);
        }
    }

    // RFC 8032, section 7.2.
    [TestCase(
        "666f6f",
        "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a"
            + "8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d")]
    [TestCase(
        "626172",
        "fc60d5872fc46b3aa69f8b5b4351d5808f92bcc044606db097abab6dbcb1aee3"
            + "216c48e8b3b66431b5b186d1d28f8ee15a5ca2df6668346291c2043d4eb3e90d")]
    public void SignWithContext_Rfc8032_GivesSignature(string context, string signature)
    {
        using Ed25519PrivateKey signer =
            new(Pieces.Hex("0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6"));
        byte[] message = Pieces.Hex("f726936d19c800494e3fdaff20b276a8");
        byte[] actual = new byte[64];
        signer.SignWithContext(message, Pieces.Hex(context), actual);
        Ed25519PublicKey verifier = new(signer.PublicKey.Span);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                signer.PublicKey.ToArray(),
                Is.EqualTo(Pieces.Hex("dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292")));
            Assert.That(actual, Is.EqualTo(Pieces.Hex(signature)));
            Assert.That(verifier.VerifyWithContext(message, Pieces.Hex(context), actual), Is.True);
            Assert.That(verifier.VerifyWithContext(message, "other"u8, actual), Is.False);
            Assert.That(verifier.Verify(message, actual), Is.False, "without the context");
        }
    }

    // RFC 8032, section 7.3.
    [Test]
    public void SignHash_Rfc8032_GivesSignature()
    {
        using Ed25519PrivateKey signer = new(Pieces.Hex(HashKey));
        byte[] hash = SHA512.HashData("abc"u8);
        byte[] actual = new byte[64];
        signer.SignHash(hash, [], actual);
        Ed25519PublicKey verifier = new(Pieces.Hex(HashPublicKey));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                actual,
                Is.EqualTo(Pieces.Hex(
                    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
                        + "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406")));
            Assert.That(verifier.VerifyHash(hash, [], actual), Is.True);
            Assert.That(verifier.VerifyHash(hash, "other"u8, actual), Is.False);
            Assert.That(verifier.Verify(hash, actual), Is.False, "as a message");
        }
    }

    [Test]
    public void Verify_AnyBitFlipped_ReturnsFalse()
    {
        using Ed25519PrivateKey signer = Ed25519PrivateKey.Generate();
        byte[] signature = new byte[64];
        signer.Sign("text"u8, signature);
        Ed25519PublicKey verifier = new(signer.PublicKey.Span);
        for (int bit = 0; bit < 512; bit++)
        {
            signature[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(verifier.Verify("text"u8, signature), Is.False, $"bit {bit}");
            signature[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        using (Assert.EnterMultipleScope())
        {
            Assert.That(verifier.Verify("text"u8, signature), Is.True);
            Assert.That(verifier.Verify("text"u8, signature.AsSpan(0, 63)), Is.False);
            Assert.That(verifier.Verify("text"u8, []), Is.False);
            byte[] noPoint = [.. Enumerable.Repeat((byte)0xff, 32)];
            Assert.That(new Ed25519PublicKey(noPoint).Verify([], signature), Is.False);
        }
    }

    [Test]
    public void Ed25519_WrongUse_Throws()
    {
        Ed25519PrivateKey signer = Ed25519PrivateKey.Generate();
        byte[] signature = new byte[64];
        byte[] export = new byte[32];
        signer.Export(export);
        using Ed25519PrivateKey copy = new(export);
        Assert.That(copy.PublicKey.ToArray(), Is.EqualTo(signer.PublicKey.ToArray()));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => new Ed25519PrivateKey(new byte[31]), Throws.ArgumentException);
            Assert.That(() => new Ed25519PublicKey(new byte[33]), Throws.ArgumentException);
            Assert.That(() => signer.Sign([], new byte[63]), Throws.ArgumentException);
            Assert.That(() => signer.SignWithContext([], [], signature), Throws.ArgumentException);
            Assert.That(() => signer.SignWithContext([], new byte[256], signature), Throws.ArgumentException);
            Assert.That(() => signer.SignHash(new byte[32], [], signature), Throws.ArgumentException);
            signer.Dispose();
            Assert.That(() => signer.Sign([], signature), Throws.InstanceOf<ObjectDisposedException>());
            Assert.That(() => signer.Export(export), Throws.InstanceOf<ObjectDisposedException>());
        }
    }

    // RFC 7748, section 6.1.
    [Test]
    public void TryDeriveSecret_Rfc7748_GivesTheSharedSecret()
    {
        using X25519PrivateKey alice =
            new(Pieces.Hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        using X25519PrivateKey bob =
            new(Pieces.Hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        byte[] expected = Pieces.Hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        byte[] secret = new byte[32];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                alice.PublicKey.ToArray(),
                Is.EqualTo(Pieces.Hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")));
            Assert.That(
                bob.PublicKey.ToArray(),
                Is.EqualTo(Pieces.Hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")));
            Assert.That(alice.TryDeriveSecret(bob.PublicKey.Span, secret), Is.True);
            Assert.That(secret, Is.EqualTo(expected));
            Assert.That(bob.TryDeriveSecret(alice.PublicKey.Span, secret), Is.True);
            Assert.That(secret, Is.EqualTo(expected));
        }
    }

    // RFC 7748, section 5.2.
    [TestCase(1, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")]
    [TestCase(1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")]
    public void TryDeriveSecret_Rfc7748Iterated_GivesResult(int iterations, string expected)
    {
        byte[] scalar = [9, .. new byte[31]];
        byte[] point = [.. scalar];
        byte[] result = new byte[32];
        for (int iteration = 0; iteration < iterations; iteration++)
        {
            using X25519PrivateKey key = new(scalar);
            Assert.That(key.TryDeriveSecret(point, result), Is.True);
            scalar.CopyTo(point, 0);
            result.CopyTo(scalar, 0);
        }

        Assert.That(scalar, Is.EqualTo(Pieces.Hex(expected)));
    }

    [TestCase("0000000000000000000000000000000000000000000000000000000000000000")]
    [TestCase("0100000000000000000000000000000000000000000000000000000000000000")]
    [TestCase("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")]
    [TestCase("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")]
    [TestCase("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]
    public void TryDeriveSecret_PointOfSmallOrder_ReturnsFalse(string publicKey)
    {
        using X25519PrivateKey key = X25519PrivateKey.Generate();
        Assert.That(key.TryDeriveSecret(Pieces.Hex(publicKey), new byte[32]), Is.False);
    }

    [Test]
    public void X25519_WrongUse_Throws()
    {
        X25519PrivateKey key = X25519PrivateKey.Generate();
        byte[] export = new byte[32];
        key.Export(export);
        using X25519PrivateKey copy = new(export);
        Assert.That(copy.PublicKey.ToArray(), Is.EqualTo(key.PublicKey.ToArray()));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => new X25519PrivateKey(new byte[31]), Throws.ArgumentException);
            Assert.That(() => key.TryDeriveSecret(new byte[31], export), Throws.ArgumentException);
            Assert.That(() => key.TryDeriveSecret(export, new byte[31]), Throws.ArgumentException);
            key.Dispose();
            Assert.That(() => key.TryDeriveSecret(export, export), Throws.InstanceOf<ObjectDisposedException>());
        }
    }
}
