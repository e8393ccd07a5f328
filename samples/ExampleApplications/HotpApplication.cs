using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace ExampleApplications;

/// <summary>OP-TEE's example hotp: one-time passwords of RFC 4226, with a key for each session.</summary>
public sealed class HotpApplication : TrustedApplication, IDisposable
{
    /// <summary>Command: the key becomes the content of parameter 0 (memory, input), 10 to 64 bytes.</summary>
    public const uint RegisterSharedKey = 0;

    /// <summary>Command: parameter 0 (value, output): a becomes the next password of six digits.</summary>
    public const uint GetPassword = 1;

    private const int LeastKeySize = 10;
    private const int MostKeySize = 64;
    private const uint Modulus = 1_000_000;

    private readonly byte[] _key = new byte[MostKeySize];
    private int _keySize;
    private ulong _counter;

    /// <summary>The application's declaration.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("484d4143-2d53-4841-3120-4a6f636b6542"));

    /// <inheritdoc/>
    public void Dispose() => CryptographicOperations.ZeroMemory(_key);

    /// <inheritdoc/>
    protected override TeeReturnCode OpenSession(ApplicationCall call) =>
        call.HasParameters() ? TeeReturnCode.Success : TeeReturnCode.BadParameters;

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call) => call.CommandId switch
    {
        RegisterSharedKey when call.HasParameters(MemoryInput) => Register(call[0]),
        GetPassword when call.HasParameters(ValueOutput) => Get(call[0]),
        _ => TeeReturnCode.BadParameters,
    };

    private TeeReturnCode Register(ApplicationParameter key)
    {
        if (!key.TryReadAll(_key, out ReadOnlySpan<byte> content))
        {
            return TeeReturnCode.BadParameters;
        }

        _keySize = content.Length;
        return TeeReturnCode.Success;
    }

    [SuppressMessage("Security", "CA5350", Justification = "RFC 4226 prescribes SHA-1.")]
    private TeeReturnCode Get(ApplicationParameter password)
    {
        if (_keySize < LeastKeySize)
        {
            return TeeReturnCode.BadParameters;
        }

        Span<byte> counter = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(counter, _counter++);
        Span<byte> code = stackalloc byte[HMACSHA1.HashSizeInBytes];
        _ = HMACSHA1.HashData(_key.AsSpan(0, _keySize), counter, code);
        uint number = BinaryPrimitives.ReadUInt32BigEndian(code[(code[^1] & 0xf)..]);
        password.A = (number & int.MaxValue) % Modulus;
        return TeeReturnCode.Success;
    }
}
