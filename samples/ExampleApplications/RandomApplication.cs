using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace ExampleApplications;

/// <summary>OP-TEE's example random: random bytes.</summary>
public sealed class RandomApplication : TrustedApplication
{
    /// <summary>Command: parameter 0 (memory, output) is filled.</summary>
    public const uint Generate = 0;

    private const int PieceSize = 1024;

    /// <summary>The application's declaration.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("b6c53aba-9669-4668-a7f2-205629d00f86"));

    /// <inheritdoc/>
    protected override TeeReturnCode OpenSession(ApplicationCall call) =>
        call.HasParameters() ? TeeReturnCode.Success : TeeReturnCode.BadParameters;

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call) =>
        call.CommandId == Generate && call.HasParameters(MemoryOutput)
            ? Fill(call[0])
            : TeeReturnCode.BadParameters;

    // In pieces: the client decides the size.
    private static TeeReturnCode Fill(ApplicationParameter output)
    {
        Span<byte> piece = stackalloc byte[PieceSize];
        for (int offset = 0; offset < output.Size; offset += PieceSize)
        {
            Span<byte> numbers = piece[..Math.Min(PieceSize, output.Size - offset)];
            RandomNumberGenerator.Fill(numbers);
            if (!output.TryWrite(offset, numbers))
            {
                return TeeReturnCode.BadParameters;
            }
        }

        return TeeReturnCode.Success;
    }
}
