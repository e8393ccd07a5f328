// <snippet>
using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
// </snippet>

namespace OpTeeMediator.ReadmeSnippets;

// <snippet>
internal sealed class DigestApplication : TrustedApplication
{
    public const uint Digest = 0;

    public static readonly Guid Uuid = new("f36a4a35-2a1e-4a5c-8f0a-6a7b1f3d9c01");

    // The client decides how much it sends, but not how much the VMM allocates for it.
    private const int MostBytes = 1 << 20;

    private ulong _total; // each session has an instance of its own

    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        if (call.CommandId != Digest || !call.HasParameters(
            TeeParameterKind.MemoryInput, TeeParameterKind.MemoryOutput, TeeParameterKind.ValueOutput))
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = call[0].ReadAll(MostBytes, out byte[] bytes);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        _total += (ulong)bytes.Length;
        call[2].A = (uint)_total;
        return call[1].Write(SHA256.HashData(bytes));
    }
}
// </snippet>
