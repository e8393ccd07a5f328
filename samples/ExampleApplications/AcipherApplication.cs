using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace ExampleApplications;

/// <summary>OP-TEE's example acipher: encrypts and decrypts with an RSA key of the session.</summary>
public sealed class AcipherApplication : TrustedApplication, IDisposable
{
    /// <summary>Command: generates a key of a bits (parameter 0, value, input): 2048, 3072 or 4096.</summary>
    public const uint GenerateKey = 0;

    /// <summary>
    /// Command: parameter 1 (memory, output) gets what parameter 0 (memory, input) is encrypted to, or decrypted to if
    /// a is 0 (parameter 2, value, input), with the algorithm a (parameter 3, value, input).
    /// </summary>
    public const uint EncryptOrDecrypt = 1;

    // No message and no ciphertext of the largest key is longer.
    private const int MostBytes = 4096 / 8;

    private RSA? _key;

    /// <summary>The application's declaration.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("a734eed9-d6a1-4244-aa50-7c99719e7b7b"));

    /// <inheritdoc/>
    public void Dispose() => _key?.Dispose();

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call) => call.CommandId switch
    {
        GenerateKey => call.HasParameters(ValueInput) ? Generate(call[0].A) : TeeReturnCode.BadParameters,
        EncryptOrDecrypt => call.HasParameters(MemoryInput, MemoryOutput, ValueInput, ValueInput)
            ? Process(call)
            : TeeReturnCode.BadParameters,
        _ => TeeReturnCode.NotSupported,
    };

    // The numbers are GlobalPlatform's TEE_ALG_RSAES_PKCS1_*. .NET has no SHA-224.
    private static RSAEncryptionPadding? PaddingOf(uint algorithm) => algorithm switch
    {
        0x6000_0130 => RSAEncryptionPadding.Pkcs1,
        0x6021_0230 => RSAEncryptionPadding.OaepSHA1,
        0x6041_0230 => RSAEncryptionPadding.OaepSHA256,
        0x6051_0230 => RSAEncryptionPadding.OaepSHA384,
        0x6061_0230 => RSAEncryptionPadding.OaepSHA512,
        _ => null,
    };

    private TeeReturnCode Generate(uint size)
    {
        if (size is not (2048 or 3072 or 4096))
        {
            return TeeReturnCode.NotSupported;
        }

        _key?.Dispose();
        _key = RSA.Create((int)size);
        return TeeReturnCode.Success;
    }

    private TeeReturnCode Process(ApplicationCall call)
    {
        if (_key is null)
        {
            return TeeReturnCode.BadState;
        }

        if (PaddingOf(call[3].A) is not { } padding)
        {
            return TeeReturnCode.NotSupported;
        }

        TeeReturnCode code = call[0].ReadAll(MostBytes, out byte[] input);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        bool encrypts = call[2].A != 0;
        try
        {
            return call[1].Write(encrypts ? _key.Encrypt(input, padding) : _key.Decrypt(input, padding));
        }
        catch (CryptographicException)
        {
            // What the client sent: a message that is too long, or a ciphertext of another key.
            return encrypts ? TeeReturnCode.BadParameters : TeeReturnCode.CiphertextInvalid;
        }
    }
}
