using System.Security.Cryptography;
using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.CryptographyTests;

public sealed class CipherTests
{
    private const string Text =
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            + "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

    private const string Soup = "I would like the General Gau's Chicken, please, and wonton soup.";

    private const string SectorKey = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0";
    private const string SectorTweakKey = "bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0";
    private const string SectorNumber = "9a785634120000000000000000000000";

    // NIST SP 800-38A, F.5.
    [TestCase(
        "2b7e151628aed2a6abf7158809cf4f3c",
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
            + "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee")]
    [TestCase(
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94"
            + "1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050")]
    [TestCase(
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
            + "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6")]
    public void Ctr_Sp80038A_GivesCiphertext(string key, string ciphertext)
    {
        using AesCtr operation = new(Pieces.Hex(key));
        Check(operation, operation, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", Pieces.Hex(Text), Pieces.Hex(ciphertext));
    }

    [Test]
    public void Ctr_CounterOverflows_ContinuesAtZero()
    {
        byte[] key = Pieces.Hex(SectorKey);
        using Aes aes = Aes.Create();
        aes.Key = key;
        byte[] expected = aes.EncryptEcb([.. Enumerable.Repeat((byte)0xff, 16), .. new byte[16]], PaddingMode.None);
        using AesCtr operation = new(key);
        Assert.That(
            Pieces.Run(operation, [.. Enumerable.Repeat((byte)0xff, 16)], new byte[32], 32), Is.EqualTo(expected));
    }

    // RFC 3962, appendix B.
    [TestCase(17, "c6353568f2bf8cb4d8a580362da7ff7f97")]
    [TestCase(31, "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5")]
    [TestCase(32, "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584")]
    [TestCase(
        47,
        "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5")]
    [TestCase(
        48,
        "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8")]
    [TestCase(
        64,
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8"
            + "4807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8")]
    public void Cts_Rfc3962_GivesCiphertext(int length, string ciphertext)
    {
        byte[] key = "chicken teriyaki"u8.ToArray();
        byte[] text = [.. Soup[..length].Select(character => (byte)character)];
        using AesCts encryption = new(key, encrypts: true);
        using AesCts decryption = new(key, encrypts: false);
        Check(encryption, decryption, new string('0', 32), text, Pieces.Hex(ciphertext));
    }

    // IEEE 1619-2007, annex B: vectors 2 and 3; vectors 15 to 18, whose last block is not whole.
    [TestCase(
        "11111111111111111111111111111111",
        "22222222222222222222222222222222",
        "33333333330000000000000000000000",
        "4444444444444444444444444444444444444444444444444444444444444444",
        "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0")]
    [TestCase(
        SectorKey,
        "22222222222222222222222222222222",
        "33333333330000000000000000000000",
        "4444444444444444444444444444444444444444444444444444444444444444",
        "af85336b597afc1a900b2eb21ec949d292df4c047e0b21532186a5971a227a89")]
    [TestCase(
        SectorKey,
        SectorTweakKey,
        SectorNumber,
        "000102030405060708090a0b0c0d0e0f10",
        "6c1625db4671522d3d7599601de7ca09ed")]
    [TestCase(
        SectorKey,
        SectorTweakKey,
        SectorNumber,
        "000102030405060708090a0b0c0d0e0f1011",
        "d069444b7a7e0cab09e24447d24deb1fedbf")]
    [TestCase(
        SectorKey,
        SectorTweakKey,
        SectorNumber,
        "000102030405060708090a0b0c0d0e0f101112",
        "e5df1351c0544ba1350b3363cd8ef4beedbf9d")]
    [TestCase(
        SectorKey,
        SectorTweakKey,
        SectorNumber,
        "000102030405060708090a0b0c0d0e0f10111213",
        "9d84c813f719aa2c7be3f66171c7c5c2edbf9dac")]
    public void Xts_Ieee1619_GivesCiphertext(string key, string tweakKey, string number, string text, string ciphertext)
    {
        using AesXts encryption = new(Pieces.Hex(key), Pieces.Hex(tweakKey), encrypts: true);
        using AesXts decryption = new(Pieces.Hex(key), Pieces.Hex(tweakKey), encrypts: false);
        Check(encryption, decryption, number, Pieces.Hex(text), Pieces.Hex(ciphertext));
    }

    // IEEE 1619-2007, annex B: vectors 4 and 10, whose data units have 512 bytes.
    [TestCase(
        "27182818284590452353602874713526",
        "31415926535897932384626433832795",
        "00000000000000000000000000000000",
        "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c",
        "eb4a427d1923ce3ff262735779a418f20a282df920147beabe421ee5319d0568")]
    [TestCase(
        "2718281828459045235360287471352662497757247093699959574966967627",
        "3141592653589793238462643383279502884197169399375105820974944592",
        "ff000000000000000000000000000000",
        "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
        "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151")]
    public void Xts_Ieee1619Sectors_GiveCiphertext(
        string key, string tweakKey, string number, string firstBytes, string lastBytes)
    {
        byte[] text = Pieces.Counting(0, 512);
        using AesXts encryption = new(Pieces.Hex(key), Pieces.Hex(tweakKey), encrypts: true);
        using AesXts decryption = new(Pieces.Hex(key), Pieces.Hex(tweakKey), encrypts: false);
        byte[] ciphertext = Pieces.Run(encryption, Pieces.Hex(number), text, 512);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(ciphertext[..32], Is.EqualTo(Pieces.Hex(firstBytes)));
            Assert.That(ciphertext[^32..], Is.EqualTo(Pieces.Hex(lastBytes)));
        }

        Check(encryption, decryption, number, text, ciphertext);
    }

    [Test]
    public void EveryCipher_LengthsAndPieces_GiveTheSameAndDecrypt([Values("ctr", "cts", "xts")] string name)
    {
        using CipherOperation encryption = Create(name, encrypts: true);
        using CipherOperation decryption = Create(name, encrypts: false);
        byte[] iv = Pieces.Counting(100, 16);
        foreach (int length in (int[])[17, 31, 32, 33, 47, 48, 49, 64, 1039, 1040, 1056, 1057, 2100, 4111])
        {
            byte[] text = Pieces.Counting(length, length);
            byte[] ciphertext = Pieces.Run(encryption, iv, text, length);
            Assert.That(ciphertext, Is.Not.EqualTo(text));
            Check(encryption, decryption, Convert.ToHexString(iv), text, ciphertext);
        }
    }

    [Test]
    public void EveryCipher_DestinationTooShort_ProcessesNothing([Values("ctr", "cts", "xts")] string name)
    {
        using CipherOperation operation = Create(name, encrypts: true);
        byte[] iv = new byte[16];
        byte[] text = Pieces.Counting(0, 100);
        byte[] expected = Pieces.Run(operation, iv, text, 100);
        operation.Initialize(iv);
        byte[] actual = new byte[100];
        int size = operation.GetUpdateSize(70);
        _ = Assert.Throws<ArgumentException>(() => operation.Update(text.AsSpan(0, 70), actual.AsSpan(0, size - 1)));
        Assert.That(operation.Update(text.AsSpan(0, 70), actual.AsSpan(0, size)), Is.EqualTo(size));
        _ = Assert.Throws<ArgumentException>(
            () => operation.Final(text.AsSpan(70), actual.AsSpan(size, actual.Length - size - 1)));
        Assert.That(operation.Final(text.AsSpan(70), actual.AsSpan(size)), Is.EqualTo(100 - size));
        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void EveryCipher_WrongState_Throws([Values("ctr", "cts", "xts")] string name)
    {
        CipherOperation operation = Create(name, encrypts: true);
        byte[] buffer = new byte[64];
        _ = Assert.Throws<InvalidOperationException>(() => operation.Update(buffer, buffer));
        _ = Assert.Throws<ArgumentException>(() => operation.Initialize(new byte[15]));
        operation.Initialize(new byte[16]);
        _ = operation.Final(buffer, buffer);
        _ = Assert.Throws<InvalidOperationException>(() => operation.Final(buffer, buffer));
        operation.Initialize(new byte[16]);
        operation.Dispose();
        _ = Assert.Throws<ObjectDisposedException>(() => operation.Update(buffer, buffer));
        _ = Assert.Throws<ObjectDisposedException>(() => operation.Initialize(new byte[16]));
        Assert.DoesNotThrow(operation.Dispose);
    }

    [TestCase("cts", 17)]
    [TestCase("xts", 16)]
    public void CtsAndXts_MessageTooShort_IsRefused(string name, int minimum)
    {
        using CipherOperation operation = Create(name, encrypts: true);
        operation.Initialize(new byte[16]);
        byte[] output = new byte[32];
        Assert.That(operation.Update(new byte[10], output), Is.Zero);
        _ = Assert.Throws<CryptographicException>(() => operation.Final(new byte[minimum - 11], output));
        Assert.That(operation.Final(new byte[minimum - 10], output), Is.EqualTo(minimum));
    }

    [Test]
    public void Xts_DataUnitTooLong_IsRefused()
    {
        using CipherOperation operation = Create("xts", encrypts: true);
        operation.Initialize(new byte[16]);
        byte[] unit = new byte[16 << 20];
        _ = operation.Update(unit, unit);
        _ = Assert.Throws<CryptographicException>(() => operation.Final(new byte[1], new byte[64]));
        Assert.That(operation.Final([], new byte[16]), Is.EqualTo(16));
    }

    [Test]
    public void Constructors_WrongKeys_AreRefused()
    {
        byte[] key = Pieces.Hex(SectorKey);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => new AesCtr(new byte[15]), Throws.ArgumentException);
            Assert.That(() => new AesCts([], encrypts: true), Throws.ArgumentException);
            Assert.That(() => new AesXts(key, key, encrypts: true), Throws.ArgumentException, "the same keys");
            Assert.That(() => new AesXts(key, new byte[32], encrypts: true), Throws.ArgumentException);
            Assert.That(() => new AesXts(new byte[24], new byte[24], encrypts: true), Throws.ArgumentException);
        }
    }

    private static CipherOperation Create(string name, bool encrypts) => name switch
    {
        "ctr" => new AesCtr(Pieces.Hex(SectorKey)),
        "cts" => new AesCts(Pieces.Hex(SectorKey), encrypts),
        _ => new AesXts(Pieces.Hex(SectorKey), Pieces.Hex(SectorTweakKey), encrypts),
    };

    // One operation serves all messages, so that what an earlier one left behind would show.
    private static void Check(
        CipherOperation encryption, CipherOperation decryption, string iv, byte[] text, byte[] ciphertext)
    {
        byte[] start = Pieces.Hex(iv);
        using (Assert.EnterMultipleScope())
        {
            foreach (int size in Pieces.Sizes)
            {
                Assert.That(Pieces.Run(encryption, start, text, size), Is.EqualTo(ciphertext), $"{size}");
                Assert.That(Pieces.Run(decryption, start, ciphertext, size), Is.EqualTo(text), $"{size}");
                Assert.That(Pieces.RunInPlace(encryption, start, text, size), Is.EqualTo(ciphertext), $"{size}");
                Assert.That(Pieces.RunInPlace(decryption, start, ciphertext, size), Is.EqualTo(text), $"{size}");
            }
        }
    }
}
