using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.SoftwareTee.KernelKeys;

/// <summary>Makes, seals and unseals the trusted keys of the guest's kernel.</summary>
/// <remarks>
/// Sources: Linux's <c>trusted_tee.c</c> for the commands, OP-TEE's <c>ta/trusted_keys</c> for the checks and their
/// codes. <see cref="SealedKey"/> has the format.
/// </remarks>
internal sealed class TrustedKeys : TrustedApplication, ISavableApplication, IDisposable
{
    /// <summary>TA_CMD_GET_RANDOM: parameter 0 is an output to fill.</summary>
    internal const uint GetRandom = 0;

    /// <summary>TA_CMD_SEAL: parameter 0 is the key, parameter 1 receives the sealed key.</summary>
    internal const uint Seal = 1;

    /// <summary>TA_CMD_UNSEAL: parameter 0 is the sealed key, parameter 1 receives the key.</summary>
    internal const uint Unseal = 2;

    /// <summary>MAX_BUF_SIZE: the longest of all buffers, in bytes.</summary>
    internal const int MaximumLength = 512;

    private readonly byte[] _key = new byte[SealedKey.KeyLength];

    /// <summary>TA_TRUSTED_KEYS_UUID.</summary>
    internal static Guid Uuid { get; } = new("f04a0fe7-1f5d-4b9b-abf7-619b85b4ce8c");

    /// <summary>The application's declaration.</summary>
    internal static TrustedApplicationManifest Manifest { get; } = new(Uuid)
    {
        SingleInstance = true,
        MultiSession = true,
        NeedsKeys = true,
        DeviceDependency = TeeDeviceDependency.None,
    };

    public void Dispose() => CryptographicOperations.ZeroMemory(_key);

    protected internal override TeeReturnCode Create() => DeriveKey("sealed keys 1"u8, _key);

    protected internal override TeeReturnCode OpenSession(ApplicationCall call) =>
        call.Client.Login == TeeLogin.Kernel ? TeeReturnCode.Success : TeeReturnCode.AccessDenied;

    protected internal override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        Span<byte> input = stackalloc byte[MaximumLength];
        Span<byte> output = stackalloc byte[MaximumLength];
        TeeReturnCode code = call.CommandId switch
        {
            GetRandom => Fill(call, output),
            Seal => Convert(call, input, output, SealedKey.Overhead),
            Unseal => Convert(call, input, output, -SealedKey.Overhead),
            _ => TeeReturnCode.NotSupported,
        };

        // Keys of the guest.
        CryptographicOperations.ZeroMemory(input);
        CryptographicOperations.ZeroMemory(output);
        return code;
    }

    private static TeeReturnCode Fill(ApplicationCall call, Span<byte> random)
    {
        if (!call.HasParameters(TeeParameterKind.MemoryOutput)
            || call[0].IsNull || call[0].Size is 0 or > MaximumLength)
        {
            return TeeReturnCode.BadParameters;
        }

        random = random[..call[0].Size];
        RandomNumberGenerator.Fill(random);
        return call[0].Write(random);
    }

    private TeeReturnCode Convert(ApplicationCall call, Span<byte> input, Span<byte> output, int growth)
    {
        if (!call.HasParameters(TeeParameterKind.MemoryInput, TeeParameterKind.MemoryOutput)
            || call[1].Size > MaximumLength
            || call[0].Size == 0
            || call[0].Size + growth <= 0
            || !call[0].TryReadAll(input, out ReadOnlySpan<byte> content))
        {
            return TeeReturnCode.BadParameters;
        }

        int needed = content.Length + growth;
        if (call[1].IsNull || needed > call[1].Size)
        {
            return call[1].ShortBuffer(needed);
        }

        output = output[..needed];
        if (growth > 0)
        {
            SealedKey.Seal(_key, content, output);
            return call[1].Write(output);
        }

        TeeReturnCode code = SealedKey.Unseal(_key, content, output);
        return code == TeeReturnCode.Success ? call[1].Write(output) : code;
    }
}
