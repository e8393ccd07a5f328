using System.Security.Cryptography;
using Org.BouncyCastle.Crypto;
using Org.BouncyCastle.Crypto.Parameters;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>.NET's AES as the block cipher of BouncyCastle's modes.</summary>
/// <remarks>
/// BouncyCastle's own AES looks bytes up in tables on arm64, which leaks key bits through the cache, and its key
/// schedule cannot be cleared. .NET's uses the processor's instructions, and its native library clears the key.
/// </remarks>
internal sealed class PlatformAes : IBlockCipher, IDisposable
{
    /// <summary>The size of a block in bytes.</summary>
    public const int BlockSize = 16;

    /// <summary>The largest number of bytes that one call of <see cref="Transform"/> takes.</summary>
    public const int MaximumTransform = 1024;

    private readonly Aes _aes;
    private readonly byte[] _input = GC.AllocateArray<byte>(MaximumTransform, pinned: true);
    private readonly byte[] _output = GC.AllocateArray<byte>(MaximumTransform, pinned: true);
    private ICryptoTransform? _encryptor;
    private ICryptoTransform? _decryptor;
    private bool _encrypts = true;

    /// <exception cref="ArgumentException">The key has neither 16, 24 nor 32 bytes.</exception>
    public PlatformAes(ReadOnlySpan<byte> key)
    {
        if (key.Length is not (16 or 24 or 32))
        {
            throw new ArgumentException("An AES key has 16, 24 or 32 bytes.", nameof(key));
        }

        _aes = Aes.Create();
#pragma warning disable CA5358 // The modes are BouncyCastle's; a mode enciphers blocks one by one.
        _aes.Mode = CipherMode.ECB;
#pragma warning restore CA5358
        _aes.Padding = PaddingMode.None;
        _aes.SetKey(key);
    }

    /// <summary>What BouncyCastle's modes pass as key; the key of this object is that of its constructor.</summary>
    public static KeyParameter Placeholder { get; } = new(new byte[BlockSize]);

    public string AlgorithmName => "AES";

    public void Init(bool forEncryption, ICipherParameters parameters) => _encrypts = forEncryption;

    public int GetBlockSize() => BlockSize;

    public int ProcessBlock(byte[] inBuf, int inOff, byte[] outBuf, int outOff) =>
        ProcessBlock(inBuf.AsSpan(inOff), outBuf.AsSpan(outOff));

    public int ProcessBlock(ReadOnlySpan<byte> input, Span<byte> output)
    {
        Transform(input[..BlockSize], output, _encrypts);
        return BlockSize;
    }

    /// <summary>Enciphers or deciphers whole blocks, each by itself; source and destination may be the same.</summary>
    public void Transform(ReadOnlySpan<byte> source, Span<byte> destination, bool encrypts)
    {
        ICryptoTransform transform = encrypts
            ? _encryptor ??= _aes.CreateEncryptor()
            : _decryptor ??= _aes.CreateDecryptor();
        source.CopyTo(_input);
        _ = transform.TransformBlock(_input, 0, source.Length, _output, 0);
        _output.AsSpan(0, source.Length).CopyTo(destination);
    }

    public void Dispose()
    {
        _encryptor?.Dispose();
        _decryptor?.Dispose();
        _aes.Dispose();
        CryptographicOperations.ZeroMemory(_input);
        CryptographicOperations.ZeroMemory(_output);
    }
}
