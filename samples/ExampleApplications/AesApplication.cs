using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace ExampleApplications;

/// <summary>OP-TEE's example aes: encrypts and decrypts with a key of the session.</summary>
public sealed class AesApplication : TrustedApplication, IDisposable
{
    /// <summary>
    /// Command: begins with an algorithm (parameter 0, value, input: a is 0 ECB, 1 CBC, 2 CTR, 3 CCM, 4 GCM), a size of
    /// the key in bytes (parameter 1, value, input: a is 16 or 32) and a direction (parameter 2, value, input: a is 1
    /// to encrypt, 0 to decrypt).
    /// </summary>
    public const uint Prepare = 0;

    /// <summary>Command: the key becomes parameter 0 (memory, input); zeros before.</summary>
    public const uint SetKey = 1;

    /// <summary>
    /// Command: begins a message of ECB, CBC or CTR with the initialization vector in parameter 0 (memory, input; none
    /// for ECB).
    /// </summary>
    public const uint SetVector = 2;

    /// <summary>
    /// Command: parameter 1 (memory, output) gets the next piece of the message, from parameter 0 (memory, input).
    /// </summary>
    public const uint Cipher = 3;

    /// <summary>
    /// Command: parameter 1 (memory, output) gets what parameter 0 (memory, input) is encrypted or decrypted to with
    /// CCM or GCM (parameter 2, value, input: a is not 0 to encrypt); parameter 3 (memory, inout) gets or has the tag.
    /// </summary>
    public const uint Authenticate = 4;

    private const int BlockSize = 16;
    private const int MostTagSize = 16;

    // The client decides how much it sends, but not how much the host allocates for it.
    private const int MostBytes = 1 << 20;

    private AesAlgorithm _algorithm;
    private bool _encrypts;
    private byte[] _key = [];
    private PieceCipher? _cipher;

    /// <summary>The application's declaration.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("5dbac793-f574-4871-8ad3-04331ec17f24"));

    // The example's own, the same for each message: right for an example only.
    private static ReadOnlySpan<byte> Nonce => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

    private bool IsAuthenticated => _algorithm is AesAlgorithm.Ccm or AesAlgorithm.Gcm;

    /// <inheritdoc/>
    public void Dispose()
    {
        CryptographicOperations.ZeroMemory(_key);
        _cipher?.Dispose();
    }

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call) => call.CommandId switch
    {
        Prepare when call.HasParameters(ValueInput, ValueInput, ValueInput) =>
            Begin(call[0].A, call[1].A, call[2].A),
        SetKey when call.HasParameters(MemoryInput) => UseKey(call[0]),
        SetVector when call.HasParameters(MemoryInput) => BeginMessage(call[0]),
        Cipher when call.HasParameters(MemoryInput, MemoryOutput) => Update(call[0], call[1]),
        Authenticate when call.HasParameters(MemoryInput, MemoryOutput, ValueInput, MemoryInOut) =>
            ProcessAuthenticated(call),
        > Authenticate => TeeReturnCode.NotSupported,
        _ => TeeReturnCode.BadParameters,
    };

    private TeeReturnCode Begin(uint algorithm, uint keySize, uint direction)
    {
        if (algorithm > (uint)AesAlgorithm.Gcm || keySize is not (16 or 32) || direction > 1)
        {
            return TeeReturnCode.BadParameters;
        }

        Dispose();
        (_algorithm, _encrypts, _key, _cipher) =
            ((AesAlgorithm)algorithm, direction == 1, new byte[(int)keySize], null);
        return TeeReturnCode.Success;
    }

    private TeeReturnCode UseKey(ApplicationParameter key)
    {
        if (key.Size != _key.Length || !key.TryReadAll(_key, out _))
        {
            return TeeReturnCode.BadParameters;
        }

        _cipher?.Dispose();
        _cipher = null;
        return TeeReturnCode.Success;
    }

    private TeeReturnCode BeginMessage(ApplicationParameter vector)
    {
        if (_key.Length == 0 || IsAuthenticated)
        {
            return TeeReturnCode.BadState;
        }

        byte[] content = new byte[BlockSize];
        if (_algorithm != AesAlgorithm.Ecb && (vector.Size != BlockSize || !vector.TryRead(0, content)))
        {
            return TeeReturnCode.BadParameters;
        }

        _cipher?.Dispose();
        _cipher = new PieceCipher(_algorithm, _encrypts, _key, content);
        return TeeReturnCode.Success;
    }

    private TeeReturnCode Update(ApplicationParameter input, ApplicationParameter output)
    {
        if (output.Size < input.Size)
        {
            return TeeReturnCode.BadParameters;
        }

        if (_cipher is null)
        {
            return TeeReturnCode.BadState;
        }

        TeeReturnCode code = input.ReadAll(MostBytes, out byte[] piece);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        // What an earlier piece has left counts: nothing is processed that has no room.
        int size = _cipher.GetUpdateSize(piece.Length);
        if (size > output.Size)
        {
            output.SetSize(size);
            return TeeReturnCode.ShortBuffer;
        }

        return output.Write(_cipher.Update(piece));
    }

    private TeeReturnCode ProcessAuthenticated(ApplicationCall call)
    {
        if (_key.Length == 0 || !IsAuthenticated || _encrypts != (call[2].A != 0))
        {
            return TeeReturnCode.BadState;
        }

        int tagSize = call[3].Size;
        KeySizes sizes = _algorithm == AesAlgorithm.Gcm ? AesGcm.TagByteSizes : AesCcm.TagByteSizes;
        if (tagSize < sizes.MinSize || tagSize > sizes.MaxSize || (tagSize - sizes.MinSize) % sizes.SkipSize != 0)
        {
            return TeeReturnCode.NotSupported;
        }

        TeeReturnCode code = call[0].ReadAll(MostBytes, out byte[] input);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        if (input.Length > call[1].Size)
        {
            call[1].SetSize(input.Length);
            return TeeReturnCode.ShortBuffer;
        }

        byte[] output = new byte[input.Length];
        Span<byte> tag = stackalloc byte[MostTagSize];
        tag = tag[..tagSize];
        if (_encrypts)
        {
            Encrypt(input, output, tag);
            code = call[3].Write(tag);
        }
        else if (!call[3].TryRead(0, tag))
        {
            code = TeeReturnCode.BadParameters;
        }
        else if (!TryDecrypt(input, output, tag))
        {
            code = TeeReturnCode.MacInvalid;
        }

        return code == TeeReturnCode.Success ? call[1].Write(output) : code;
    }

    private void Encrypt(byte[] input, byte[] output, Span<byte> tag)
    {
        if (_algorithm == AesAlgorithm.Gcm)
        {
            using AesGcm gcm = new(_key, tag.Length);
            gcm.Encrypt(Nonce, input, output, tag);
        }
        else
        {
            using AesCcm ccm = new(_key);
            ccm.Encrypt(Nonce, input, output, tag);
        }
    }

    private bool TryDecrypt(byte[] input, byte[] output, ReadOnlySpan<byte> tag)
    {
        try
        {
            if (_algorithm == AesAlgorithm.Gcm)
            {
                using AesGcm gcm = new(_key, tag.Length);
                gcm.Decrypt(Nonce, input, tag, output);
            }
            else
            {
                using AesCcm ccm = new(_key);
                ccm.Decrypt(Nonce, input, tag, output);
            }

            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
    }
}
