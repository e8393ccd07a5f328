using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace KvmVmm.Tee;

/// <summary>A trusted application that keeps its clients' data in objects of its trusted storage.</summary>
internal sealed class ObjectApplication : TrustedApplication
{
    /// <summary>
    /// Command: the object named in parameter 0 (memory, input) becomes the content of parameter 1 (memory, input).
    /// </summary>
    public const uint Write = 0;

    /// <summary>
    /// Command: parameter 1 (memory, output) gets the content of the object named in parameter 0 (memory, input).
    /// </summary>
    public const uint Read = 1;

    /// <summary>Command: the object named in parameter 0 (memory, input) is deleted.</summary>
    public const uint Delete = 2;

    /// <summary>The application's UUID.</summary>
    public static readonly Guid Uuid = new("b2a7e5d4-6c1f-4e83-9a70-51d3c8f2e6b9");

    // The guest chooses sizes, and must not choose how much memory this process uses.
    private const int MostBytes = 1 << 20;

    /// <summary>The text of --list.</summary>
    public static string Description { get; } =
        Uuid + "  commands 0 write, 1 read, 2 delete objects; only with --storage";

    /// <summary>What the TEE is told of the application.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(Uuid) { NeedsStorage = true };

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        bool hasData = call.HasParameters(MemoryInput, call.CommandId == Read ? MemoryOutput : MemoryInput);
        if (call.CommandId > Delete || !(call.CommandId == Delete ? call.HasParameters(MemoryInput) : hasData))
        {
            return TeeReturnCode.BadParameters;
        }

        // A name that is too long the storage refuses.
        Span<byte> buffer = stackalloc byte[TrustedStorage.MaximumIdLength + 1];
        if (!call[0].TryReadAll(buffer, out ReadOnlySpan<byte> name))
        {
            return TeeReturnCode.BadParameters;
        }

        return call.CommandId switch
        {
            Write => WriteObject(call.Storage, name, call[1]),
            Read => ReadObject(call.Storage, name, call[1]),
            _ => DeleteObject(call.Storage, name),
        };
    }

    private static TeeReturnCode WriteObject(
        TrustedStorage storage, ReadOnlySpan<byte> name, ApplicationParameter source)
    {
        byte[] content = new byte[Math.Min(source.Size, MostBytes)];
        if (source.Size > MostBytes || !source.TryRead(0, content))
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = storage.Create(
            name, TrustedObjectFlags.AccessWrite | TrustedObjectFlags.Overwrite, content, out TrustedObject? handle);
        handle?.Dispose();
        return code;
    }

    private static TeeReturnCode ReadObject(
        TrustedStorage storage, ReadOnlySpan<byte> name, ApplicationParameter target)
    {
        TeeReturnCode code = storage.Open(name, TrustedObjectFlags.AccessRead, out TrustedObject? handle);
        using (handle)
        {
            if (handle is null || (code = handle.GetSize(out long size)) != TeeReturnCode.Success)
            {
                return code;
            }

            if (size > target.Size)
            {
                return target.ShortBuffer((int)size);
            }

            byte[] content = new byte[size];
            code = handle.Read(content, out int count);
            return code == TeeReturnCode.Success ? target.Write(content.AsSpan(0, count)) : code;
        }
    }

    private static TeeReturnCode DeleteObject(TrustedStorage storage, ReadOnlySpan<byte> name)
    {
        TeeReturnCode code = storage.Open(name, TrustedObjectFlags.AccessWriteMeta, out TrustedObject? handle);
        using (handle)
        {
            return handle?.Delete() ?? code;
        }
    }
}
