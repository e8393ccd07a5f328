using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace MinimalVmm;

/// <summary>A trusted application: its command writes the bytes of parameter 0 backwards to parameter 1.</summary>
internal sealed class ReverseApplication : TrustedApplication
{
    /// <summary>The command's number.</summary>
    public const uint Reverse = 1;

    /// <summary>The application's UUID.</summary>
    public static readonly Guid Uuid = new("6d2f4f5e-3a53-4b0e-9a3c-1f0d7c9be001");

    // The client decides how much it sends, but not how much the VMM allocates for it.
    private const int MostBytes = 1 << 20;

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        if (call.CommandId != Reverse
            || !call.HasParameters(TeeParameterKind.MemoryInput, TeeParameterKind.MemoryOutput))
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = call[0].ReadAll(MostBytes, out byte[] bytes);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        bytes.AsSpan().Reverse();
        return call[1].Write(bytes);
    }
}
