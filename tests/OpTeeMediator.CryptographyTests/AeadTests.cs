using System.Security.Cryptography;
using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.CryptographyTests;

public sealed class AeadTests
{
    private const string GcmKey = "feffe9928665731c6d6a8f9467308308";
    private const string GcmNonce = "cafebabefacedbaddecaf888";
    private const string GcmAssociated = "feedfacedeadbeeffeedfacedeadbeefabaddad2";

    private const string GcmText =
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";

    // The examples of the GCM specification that SP 800-38D refers to, for each length of key, nonce and text.
    [TestCase(
        "00000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "",
        "58e2fccefa7e3061367f1d57a4e7455a")]
    [TestCase(
        "00000000000000000000000000000000",
        "000000000000000000000000",
        "00000000000000000000000000000000",
        "",
        "0388dace60b6a392f328c2b971b2fe78",
        "ab6e47d42cec13bdf53a67b21257bddf")]
    [TestCase(
        GcmKey,
        GcmNonce,
        GcmText,
        "",
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
            + "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
        "4d5c2af327cd64a62cf35abd2ba6fab4")]
    [TestCase(
        GcmKey,
        GcmNonce,
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        GcmAssociated,
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
            + "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
        "5bc94fbc3221a5db94fae95ae7121a47")]
    [TestCase(
        GcmKey,
        "cafebabefacedbad",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        GcmAssociated,
        "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c7423"
            + "73806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f4598",
        "3612d2e79e3b0785561be14aaca2fccb")]
    [TestCase(
        GcmKey + GcmKey,
        GcmNonce,
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        GcmAssociated,
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            + "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b")]
    public void Gcm_Sp80038D_GivesCiphertextAndTag(
        string key, string nonce, string text, string associated, string ciphertext, string tag)
    {
        foreach (int size in Pieces.Sizes)
        {
            using AesGcmOperation encryption = new(Pieces.Hex(key), encrypts: true);
            using AesGcmOperation decryption = new(Pieces.Hex(key), encrypts: false);
            encryption.Initialize(Pieces.Hex(nonce), 16);
            decryption.Initialize(Pieces.Hex(nonce), 16);
            Check(encryption, decryption, text, associated, ciphertext, tag, size);
        }
    }

    // SP 800-38C, examples 1 to 3; RFC 3610, packet vectors 1, 2 and 7.
    [TestCase(
        "404142434445464748494a4b4c4d4e4f",
        "10111213141516",
        "20212223",
        "0001020304050607",
        "7162015b",
        "4dac255d")]
    [TestCase(
        "404142434445464748494a4b4c4d4e4f",
        "1011121314151617",
        "202122232425262728292a2b2c2d2e2f",
        "000102030405060708090a0b0c0d0e0f",
        "d2a1f0e051ea5f62081a7792073d593d",
        "1fc64fbfaccd")]
    [TestCase(
        "404142434445464748494a4b4c4d4e4f",
        "101112131415161718191a1b",
        "202122232425262728292a2b2c2d2e2f3031323334353637",
        "000102030405060708090a0b0c0d0e0f10111213",
        "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5",
        "484392fbc1b09951")]
    [TestCase(
        "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
        "00000003020100a0a1a2a3a4a5",
        "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
        "0001020304050607",
        "588c979a61c663d2f066d0c2c0f989806d5f6b61dac384",
        "17e8d12cfdf926e0")]
    [TestCase(
        "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
        "00000004030201a0a1a2a3a4a5",
        "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "0001020304050607",
        "72c91a36e135f8cf291ca894085c87e3cc15c439c9e43a3b",
        "a091d56e10400916")]
    [TestCase(
        "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
        "00000009080706a0a1a2a3a4a5",
        "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
        "0001020304050607",
        "0135d1b2c95f41d5d1d4fec185d166b8094e999dfed96c",
        "048c56602c97acbb7490")]
    public void Ccm_Sp80038C_GivesCiphertextAndTag(
        string key, string nonce, string text, string associated, string ciphertext, string tag)
    {
        using AesCcmOperation encryption = new(Pieces.Hex(key), encrypts: true);
        using AesCcmOperation decryption = new(Pieces.Hex(key), encrypts: false);
        foreach (int size in Pieces.Sizes)
        {
            encryption.Initialize(Pieces.Hex(nonce), tag.Length / 2, associated.Length / 2, text.Length / 2);
            decryption.Initialize(Pieces.Hex(nonce), tag.Length / 2, associated.Length / 2, text.Length / 2);
            Check(encryption, decryption, text, associated, ciphertext, tag, size);
        }
    }

    // SP 800-38C, example 4.
    [Test]
    public void Ccm_65536BytesOfAssociatedData_GivesCiphertextAndTag()
    {
        using AesCcmOperation operation = new(Pieces.Hex("404142434445464748494a4b4c4d4e4f"), encrypts: true);
        operation.Initialize(Pieces.Counting(0x10, 13), 14, 65536, 32);
        byte[] tag = new byte[14];
        byte[] ciphertext = Pieces.Encrypt(operation, Pieces.Counting(0, 65536), Pieces.Counting(0x20, 32), tag, 1000);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                ciphertext,
                Is.EqualTo(Pieces.Hex("69915dad1e84c6376a68c2967e4dab615ae0fd1faec44cc484828529463ccf72")));
            Assert.That(tag, Is.EqualTo(Pieces.Hex("b4ac6bec93e8598e7f0dadbcea5b")));
        }
    }

    [Test]
    public void Gcm_LengthsTagsAndPieces_AreThoseOfDotNet()
    {
        byte[] key = Pieces.Hex(GcmKey);
        using AesGcmOperation encryption = new(key, encrypts: true);
        using AesGcmOperation decryption = new(key, encrypts: false);
        byte[] nonce = Pieces.Hex(GcmNonce);
        byte[] associated = Pieces.Counting(7, 37);
        foreach (int length in (int[])[0, 1, 15, 16, 17, 31, 32, 33, 64, 200, 1024, 4111])
        {
            foreach (int tagSize in (int[])[12, 13, 16])
            {
                byte[] text = Pieces.Counting(length, length);
                byte[] expected = new byte[length];
                byte[] expectedTag = new byte[tagSize];
                using AesGcm reference = new(key, tagSize);
                nonce[0]++;
                reference.Encrypt(nonce, text, expected, expectedTag, associated);
                int size = 1 + ((length + tagSize) % 50);
                byte[] tag = new byte[tagSize];
                encryption.Initialize(nonce, tagSize);
                Assert.That(Pieces.Encrypt(encryption, associated, text, tag, size), Is.EqualTo(expected));
                Assert.That(tag, Is.EqualTo(expectedTag));
                decryption.Initialize(nonce, tagSize);
                Assert.That(Pieces.TryDecrypt(decryption, associated, expected, tag, size), Is.EqualTo(text));
            }
        }
    }

    [Test]
    public void Decryption_AnythingChanged_IsNotAuthenticAndGivesNothing([Values] bool gcm)
    {
        byte[] key = Pieces.Hex(GcmKey);
        byte[] text = Pieces.Counting(1, 40);
        byte[] associated = Pieces.Counting(2, 20);
        byte[] tag = new byte[16];
        using AeadOperation encryption = Create(gcm, encrypts: true, 20, 40);
        byte[] ciphertext = Pieces.Encrypt(encryption, associated, text, tag, 40);
        foreach (byte[] field in (byte[][])[ciphertext, associated, tag])
        {
            for (int bit = 0; bit < field.Length * 8; bit++)
            {
                field[bit / 8] ^= (byte)(1 << (bit % 8));
                using AeadOperation changed = Create(gcm, encrypts: false, 20, 40);
                changed.UpdateAssociatedData(associated);
                byte[] output = new byte[40];
                Assert.That(changed.TryDecryptFinal(ciphertext, output, tag, out int written), Is.False, $"bit {bit}");
                Assert.That(written, Is.Zero);
                Assert.That(output, Is.EqualTo(new byte[40]));
                field[bit / 8] ^= (byte)(1 << (bit % 8));
            }
        }

        using AeadOperation decryption = Create(gcm, encrypts: false, 20, 40);
        Assert.That(Pieces.TryDecrypt(decryption, associated, ciphertext, tag, 40), Is.EqualTo(text));
    }

    [Test]
    public void Operation_WrongState_Throws([Values] bool gcm)
    {
        byte[] buffer = new byte[40];
        byte[] tag = new byte[16];
        AeadOperation encryption = Create(gcm, encrypts: true, 20, 40);
        using AeadOperation decryption = Create(gcm, encrypts: false, 20, 40);
        _ = Assert.Throws<InvalidOperationException>(() => encryption.TryDecryptFinal([], [], tag, out _));
        _ = Assert.Throws<InvalidOperationException>(() => decryption.EncryptFinal([], [], tag));
        encryption.UpdateAssociatedData(new byte[20]);
        _ = Assert.Throws<ArgumentException>(() => encryption.EncryptFinal(buffer, new byte[39], tag));
        _ = Assert.Throws<ArgumentException>(() => encryption.EncryptFinal(buffer, buffer, new byte[15]));
        _ = encryption.Update(buffer.AsSpan(0, 1), buffer);
        _ = Assert.Throws<InvalidOperationException>(() => encryption.UpdateAssociatedData([1]));
        Assert.That(encryption.EncryptFinal(buffer.AsSpan(1), new byte[40], tag), Is.EqualTo(40));
        _ = Assert.Throws<InvalidOperationException>(() => encryption.Update([1], buffer));
        encryption.Dispose();
        _ = Assert.Throws<ObjectDisposedException>(() => encryption.Update([1], buffer));
        Assert.DoesNotThrow(encryption.Dispose);
    }

    [Test]
    public void Gcm_NonceOfTheMessageBefore_IsRefused()
    {
        using AesGcmOperation operation = new(Pieces.Hex(GcmKey), encrypts: true);
        operation.Initialize(Pieces.Hex(GcmNonce), 16);
        _ = Assert.Throws<ArgumentException>(() => operation.Initialize(Pieces.Hex(GcmNonce), 16));
        _ = Assert.Throws<ArgumentException>(() => operation.Initialize([], 16));
        _ = Assert.Throws<ArgumentOutOfRangeException>(() => operation.Initialize(new byte[12], 11));
        _ = Assert.Throws<ArgumentOutOfRangeException>(() => operation.Initialize(new byte[12], 17));
    }

    [Test]
    public void Ccm_OtherLengthsThanAnnounced_AreRefused()
    {
        using AesCcmOperation operation = new(Pieces.Hex(GcmKey), encrypts: true);
        byte[] tag = new byte[16];
        byte[] output = new byte[100];
        operation.Initialize(new byte[13], 16, 3, 10);
        _ = Assert.Throws<InvalidOperationException>(() => operation.UpdateAssociatedData(new byte[4]));
        operation.UpdateAssociatedData(new byte[2]);
        _ = Assert.Throws<InvalidOperationException>(() => operation.Update(new byte[11], output));
        _ = Assert.Throws<InvalidOperationException>(
            () => operation.EncryptFinal(new byte[10], output, tag), "a byte of associated data is missing");
        operation.UpdateAssociatedData(new byte[1]);
        _ = Assert.Throws<InvalidOperationException>(() => operation.EncryptFinal(new byte[9], output, tag));
        Assert.That(operation.EncryptFinal(new byte[10], output, tag), Is.EqualTo(10));
    }

    [Test]
    public void Ccm_ParametersOutOfRange_AreRefused()
    {
        using AesCcmOperation operation = new(Pieces.Hex(GcmKey), encrypts: true);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => operation.Initialize(new byte[6], 16, 0, 0), Throws.ArgumentException);
            Assert.That(() => operation.Initialize(new byte[14], 16, 0, 0), Throws.ArgumentException);
            Assert.That(() => operation.Initialize(new byte[13], 5, 0, 0), Throws.InstanceOf<ArgumentException>());
            Assert.That(() => operation.Initialize(new byte[13], 2, 0, 0), Throws.InstanceOf<ArgumentException>());
            Assert.That(() => operation.Initialize(new byte[13], 16, -1, 0), Throws.InstanceOf<ArgumentException>());
            Assert.That(() => operation.Initialize(new byte[13], 16, 0, -1), Throws.InstanceOf<ArgumentException>());
            Assert.That(() => operation.Initialize(new byte[13], 16, 0, 65536), Throws.InstanceOf<ArgumentException>());
            Assert.That(() => operation.Initialize(new byte[13], 16, 0, 65535), Throws.Nothing);
            Assert.That(() => new AesCcmOperation(new byte[15], encrypts: true), Throws.ArgumentException);
            Assert.That(() => new AesGcmOperation(new byte[15], encrypts: true), Throws.ArgumentException);
        }
    }

    private static AeadOperation Create(bool gcm, bool encrypts, int associatedLength, int payloadLength)
    {
        if (gcm)
        {
            AesGcmOperation operation = new(Pieces.Hex(GcmKey), encrypts);
            operation.Initialize(Pieces.Hex(GcmNonce), 16);
            return operation;
        }

        AesCcmOperation other = new(Pieces.Hex(GcmKey), encrypts);
        other.Initialize(Pieces.Hex(GcmNonce), 16, associatedLength, payloadLength);
        return other;
    }

    private static void Check(
        AeadOperation encryption,
        AeadOperation decryption,
        string text,
        string associated,
        string ciphertext,
        string tag,
        int size)
    {
        byte[] actualTag = new byte[tag.Length / 2];
        byte[] actual = Pieces.Encrypt(encryption, Pieces.Hex(associated), Pieces.Hex(text), actualTag, size);
        byte[]? decrypted = Pieces.TryDecrypt(
            decryption, Pieces.Hex(associated), Pieces.Hex(ciphertext), Pieces.Hex(tag), size);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(actual, Is.EqualTo(Pieces.Hex(ciphertext)), $"{size}");
            Assert.That(actualTag, Is.EqualTo(Pieces.Hex(tag)), $"{size}");
            Assert.That(decrypted, Is.EqualTo(Pieces.Hex(text)), $"{size}");
        }
    }
}
