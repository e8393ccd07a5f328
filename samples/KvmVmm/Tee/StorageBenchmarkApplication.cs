using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace KvmVmm.Tee;

/// <summary>
/// The trusted application of xtest's storage benchmark (<c>xtest -t benchmark 100</c>), so that one client measures
/// OP-TEE's storage and this TEE's.
/// </summary>
internal sealed class StorageBenchmarkApplication : TrustedApplication
{
    private const uint Read = 0;
    private const uint Write = 1;
    private const uint Rewrite = 2;

    // The client decides how much it writes, but not how much the host allocates for it.
    private const uint MostBytes = 4 << 20;

    private const TrustedObjectFlags Everything =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.AccessWriteMeta;

    /// <summary>The text of --list.</summary>
    public static string Description { get; } =
        $"{Manifest.Uuid}  xtest's storage benchmark; only with --storage";

    /// <summary>What the TEE is told of the application.</summary>
    public static TrustedApplicationManifest Manifest => new(new Guid("f157cda0-550c-11e5-a6fa-0002a5d5c51b"))
    {
        NeedsStorage = true,
    };

    private static ReadOnlySpan<byte> Id => "BenchmarkTestFile"u8;

    /// <inheritdoc/>
    /// <remarks>
    /// Commands 0 read, 1 write, 2 read and write back: parameter 0 (value, input) has the object's size and that of a
    /// piece in bytes, parameter 2 (value, output) gets the time in ms.
    /// </remarks>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        if (call.CommandId > Rewrite || !call.HasParameters(ValueInput, ValueInput, ValueOutput)
            || call[0].A is 0 or > MostBytes || call[0].B is 0 or > MostBytes)
        {
            return TeeReturnCode.BadParameters;
        }

        byte[] piece = new byte[call[0].B];
        TeeReturnCode code =
            call.Storage.Create(Id, Everything | TrustedObjectFlags.Overwrite, [], out TrustedObject? handle);
        if (handle is null)
        {
            return code;
        }

        using (handle)
        {
            code = ForEachPiece(call[0].A, piece, bytes => handle.Write(bytes.Span));
            code = code == TeeReturnCode.Success ? handle.Seek(0, SeekOrigin.Begin) : code;
            long start = Stopwatch.GetTimestamp();
            code = code == TeeReturnCode.Success
                ? ForEachPiece(call[0].A, piece, bytes => Access(handle, call.CommandId, bytes.Span))
                : code;
            call[2].A = (uint)Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            TeeReturnCode deleted = handle.Delete();
            return code == TeeReturnCode.Success ? deleted : code;
        }
    }

    private static TeeReturnCode Access(TrustedObject handle, uint command, Span<byte> bytes)
    {
        TeeReturnCode code = command == Write ? TeeReturnCode.Success : handle.Read(bytes, out _);
        if (command == Rewrite && code == TeeReturnCode.Success)
        {
            code = handle.Seek(-bytes.Length, SeekOrigin.Current);
        }

        return command == Read || code != TeeReturnCode.Success ? code : handle.Write(bytes);
    }

    private static TeeReturnCode ForEachPiece(uint size, byte[] piece, Func<Memory<byte>, TeeReturnCode> access)
    {
        TeeReturnCode code = TeeReturnCode.Success;
        for (uint done = 0; done < size && code == TeeReturnCode.Success; done += (uint)piece.Length)
        {
            code = access(piece.AsMemory(0, (int)Math.Min((uint)piece.Length, size - done)));
        }

        return code;
    }
}
