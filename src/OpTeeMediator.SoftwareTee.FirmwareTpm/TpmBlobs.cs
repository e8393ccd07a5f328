using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>The state of a TPM as swtpm gives it and takes it: a blob of each kind, encrypted under swtpm's key.
/// </summary>
/// <param name="Blobs">By kind: permanent, volatile, and what TPM 1.2 saves for itself, which TPM 2.0 does not
/// have and which is empty then.</param>
internal sealed record TpmBlobs(IReadOnlyList<ReadOnlyMemory<byte>> Blobs)
{
    /// <summary>The longest blob that is saved or taken over: NV memory and twenty transient objects are a tenth.
    /// </summary>
    public const int MaximumLength = 1 << 20;

    /// <summary>How many kinds there are; those of swtpm begin with 1.</summary>
    public const int Kinds = 3;

    /// <summary>The length of the key by which a saved state is authenticated.</summary>
    public const int KeyLength = 32;

    // The first kinds are never empty.
    private const int Required = 2;
    private const byte Version = 1;

    private enum Content : byte
    {
        // No session was opened, or swtpm has not started.
        None,
        Failed,
        Running,
    }

    /// <summary>Writes the state of a TPM, with a message authentication code.</summary>
    /// <param name="state">Receives it.</param>
    /// <param name="blobs">What swtpm has given; none if there is no swtpm.</param>
    /// <param name="hasFailed">Whether swtpm has failed.</param>
    /// <param name="key">The key for the code.</param>
    public static void Write(IBufferWriter<byte> state, TpmBlobs? blobs, bool hasFailed, ReadOnlySpan<byte> key)
    {
        using IncrementalHash code = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, key);
        Content content = blobs is not null ? Content.Running : hasFailed ? Content.Failed : Content.None;
        Append([Version, (byte)content]);
        foreach (ReadOnlyMemory<byte> blob in blobs?.Blobs ?? [])
        {
            byte[] length = new byte[sizeof(uint)];
            BinaryPrimitives.WriteInt32LittleEndian(length, blob.Length);
            Append(length);
            Append(blob.Span);
        }

        state.Write(code.GetHashAndReset());

        void Append(ReadOnlySpan<byte> part)
        {
            code.AppendData(part);
            state.Write(part);
        }
    }

    /// <summary>Reads what <see cref="Write"/> has written.</summary>
    /// <exception cref="EngineException">It is not that, or of another VM or root key.</exception>
    public static TpmBlobs? Read(ReadOnlySpan<byte> state, ReadOnlySpan<byte> key, out bool hasFailed)
    {
        int length = state.Length - HMACSHA256.HashSizeInBytes;
        if (length < 2 || state[0] != Version)
        {
            throw new EngineException("its state is cut, or of another version.");
        }

        Span<byte> code = stackalloc byte[HMACSHA256.HashSizeInBytes];
        _ = HMACSHA256.HashData(key, state[..length], code);
        if (!CryptographicOperations.FixedTimeEquals(code, state[length..]))
        {
            throw new EngineException(
                "its state was changed, or saved by a VM of another identity or root key.");
        }

        // All the same it is checked: the key is the host's, as is what is read.
        Content content = (Content)state[1];
        hasFailed = content == Content.Failed;
        ReadOnlySpan<byte> rest = state[2..length];
        TpmBlobs? blobs = content == Content.Running ? new TpmBlobs(ReadBlobs(ref rest)) : null;
        return content <= Content.Running && rest.IsEmpty
            ? blobs
            : throw new EngineException("its state is malformed.");
    }

    /// <summary>Whether a blob of a kind may have a length.</summary>
    public static bool IsLength(int index, uint length) => length <= MaximumLength && (length > 0 || index >= Required);

    private static ReadOnlyMemory<byte>[] ReadBlobs(ref ReadOnlySpan<byte> rest)
    {
        ReadOnlyMemory<byte>[] blobs = new ReadOnlyMemory<byte>[Kinds];
        for (int index = 0; index < Kinds; index++)
        {
            if (rest.Length < sizeof(uint))
            {
                throw new EngineException("its state is malformed.");
            }

            uint length = BinaryPrimitives.ReadUInt32LittleEndian(rest);
            rest = rest[sizeof(uint)..];
            if (!IsLength(index, length) || length > (uint)rest.Length)
            {
                throw new EngineException($"its state has a blob of {length} bytes.");
            }

            blobs[index] = rest[..(int)length].ToArray();
            rest = rest[(int)length..];
        }

        return blobs;
    }
}
