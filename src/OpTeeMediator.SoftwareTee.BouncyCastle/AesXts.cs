using System.Buffers.Binary;
using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>AES in XTS mode (IEEE 1619, NIST SP 800-38E; TEE_ALG_AES_XTS).</summary>
/// <remarks>
/// A message is a data unit, of 16 bytes to 16 MiB (2^20 blocks). Its number, 128 bits with the lowest byte first, is
/// what <see cref="CipherOperation.Initialize"/> takes. An update holds back up to 31 bytes. Neither .NET nor
/// BouncyCastle has this mode: the multiplication of the tweak and the ciphertext stealing are of this class, and the
/// cipher is .NET's AES.
/// </remarks>
public sealed class AesXts : CipherOperation
{
    private const int BlockSize = PlatformAes.BlockSize;
    private const int MaximumBlocks = 1 << 20;

    private readonly PlatformAes _dataCipher;
    private readonly PlatformAes _tweakCipher;
    private readonly bool _encrypts;
    private readonly byte[] _held = GC.AllocateArray<byte>(2 * BlockSize, pinned: true);
    private int _heldLength;
    private UInt128 _tweak;

    /// <summary>Creates an operation with copies of two keys.</summary>
    /// <param name="key">The key of the data, 16 or 32 bytes.</param>
    /// <param name="tweakKey">The key of the tweak, of the same length, and another one.</param>
    /// <param name="encrypts">Whether it encrypts; otherwise it decrypts.</param>
    /// <exception cref="ArgumentException">The keys have other lengths, or are the same.</exception>
    public AesXts(ReadOnlySpan<byte> key, ReadOnlySpan<byte> tweakKey, bool encrypts)
    {
        if (key.Length is not (16 or 32) || tweakKey.Length != key.Length)
        {
            throw new ArgumentException("Both keys have 16, or both have 32 bytes.", nameof(key));
        }

        if (CryptographicOperations.FixedTimeEquals(key, tweakKey))
        {
            throw new ArgumentException("The two keys must differ: otherwise XTS is not secure.", nameof(tweakKey));
        }

        _dataCipher = new PlatformAes(key);
        _tweakCipher = new PlatformAes(tweakKey);
        _encrypts = encrypts;
    }

    private protected override int MinimumLength => BlockSize;

    private protected override long MaximumLength => (long)MaximumBlocks * BlockSize;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _dataCipher.Dispose();
        _tweakCipher.Dispose();
        CryptographicOperations.ZeroMemory(_held);
        _tweak = 0;
    }

    private protected override void Start(ReadOnlySpan<byte> iv)
    {
        Span<byte> tweak = stackalloc byte[BlockSize];
        _tweakCipher.Transform(iv, tweak, encrypts: true);
        _tweak = BinaryPrimitives.ReadUInt128LittleEndian(tweak);
        CryptographicOperations.ZeroMemory(tweak);
        _heldLength = 0;
    }

    // A whole block stays held: if a part of a block follows last, it steals from that one.
    private protected override int CountWritten(int available) =>
        Math.Max(0, (available / BlockSize * BlockSize) - BlockSize);

    private protected override int ProcessChunk(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        Span<byte> joined = stackalloc byte[(2 * BlockSize) + PlatformAes.MaximumTransform];
        joined = joined[..(_heldLength + source.Length)];
        _held.AsSpan(0, _heldLength).CopyTo(joined);
        source.CopyTo(joined[_heldLength..]);
        int size = CountWritten(joined.Length);
        for (int offset = 0; offset < size; offset += PlatformAes.MaximumTransform)
        {
            int length = Math.Min(PlatformAes.MaximumTransform, size - offset);
            TransformBlocks(joined.Slice(offset, length), destination.Slice(offset, length));
        }

        _heldLength = joined.Length - size;
        joined[size..].CopyTo(_held);
        CryptographicOperations.ZeroMemory(joined);
        return size;
    }

    private protected override void Finish(Span<byte> destination)
    {
        Span<byte> held = _held.AsSpan(0, _heldLength);
        int rest = held.Length - BlockSize;
        if (rest == 0)
        {
            TransformBlocks(held, destination);
        }
        else
        {
            Steal(held, rest, destination);
        }

        CryptographicOperations.ZeroMemory(held);
        _heldLength = 0;
    }

    private static UInt128 Double(UInt128 tweak) => (tweak << 1) ^ ((UInt128)0x87 & (UInt128.Zero - (tweak >> 127)));

    // Decryption needs the tweak of the last, partial block before that of the block ahead of it.
    private void Steal(ReadOnlySpan<byte> held, int rest, Span<byte> destination)
    {
        UInt128 current = _tweak;
        UInt128 next = Double(current);
        Span<byte> block = stackalloc byte[BlockSize];
        TransformBlock(held[..BlockSize], block, _encrypts ? current : next);
        block[..rest].CopyTo(destination[BlockSize..]);
        held[BlockSize..].CopyTo(block);
        TransformBlock(block, destination[..BlockSize], _encrypts ? next : current);
        CryptographicOperations.ZeroMemory(block);
    }

    private void TransformBlock(ReadOnlySpan<byte> source, Span<byte> destination, UInt128 tweak)
    {
        _tweak = tweak;
        TransformBlocks(source, destination);
    }

    private void TransformBlocks(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        UInt128 tweak = _tweak;
        for (int offset = 0; offset < source.Length; offset += BlockSize)
        {
            Mask(source[offset..], destination[offset..], tweak);
            tweak = Double(tweak);
        }

        _dataCipher.Transform(destination[..source.Length], destination, _encrypts);
        for (int offset = 0; offset < source.Length; offset += BlockSize)
        {
            Mask(destination[offset..], destination[offset..], _tweak);
            _tweak = Double(_tweak);
        }
    }

    private static void Mask(ReadOnlySpan<byte> source, Span<byte> destination, UInt128 tweak) =>
        BinaryPrimitives.WriteUInt128LittleEndian(
            destination, BinaryPrimitives.ReadUInt128LittleEndian(source) ^ tweak);
}
