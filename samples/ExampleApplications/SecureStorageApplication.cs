using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace ExampleApplications;

/// <summary>OP-TEE's example secure_storage: objects that its clients name.</summary>
public sealed class SecureStorageApplication : TrustedApplication
{
    /// <summary>
    /// Command: parameter 1 (memory, output) gets the data of the object named in parameter 0 (memory, input).
    /// </summary>
    public const uint Read = 0;

    /// <summary>
    /// Command: the data of the object named in parameter 0 (memory, input) becomes parameter 1 (memory, input).
    /// </summary>
    public const uint Write = 1;

    /// <summary>Command: deletes the object named in parameter 0 (memory, input).</summary>
    public const uint Delete = 2;

    // The client decides how much it sends, but not how much the host allocates for it.
    private const int MostBytes = 1 << 20;

    private const TrustedObjectFlags Everything =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.AccessWriteMeta;

    /// <summary>The application's declaration: a single instance with a single session, as OP-TEE's.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("f4e750bb-1437-4fbf-8785-8d3580c34994"))
    {
        SingleInstance = true,
        NeedsStorage = true,
    };

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        bool isKnown = call.CommandId switch
        {
            Read => call.HasParameters(MemoryInput, MemoryOutput),
            Write => call.HasParameters(MemoryInput, MemoryInput),
            Delete => call.HasParameters(MemoryInput),
            _ => false,
        };
        if (!isKnown)
        {
            return call.CommandId > Delete ? TeeReturnCode.NotSupported : TeeReturnCode.BadParameters;
        }

        Span<byte> buffer = stackalloc byte[TrustedStorage.MaximumIdLength];
        return !call[0].TryReadAll(buffer, out ReadOnlySpan<byte> id)
            ? TeeReturnCode.BadParameters
            : call.CommandId switch
            {
                Read => ReadObject(call.Storage, id, call[1]),
                Write => WriteObject(call.Storage, id, call[1]),
                _ => DeleteObject(call.Storage, id),
            };
    }

    private static TeeReturnCode ReadObject(TrustedStorage storage, ReadOnlySpan<byte> id, ApplicationParameter output)
    {
        const TrustedObjectFlags Flags = TrustedObjectFlags.AccessRead | TrustedObjectFlags.ShareRead;
        TeeReturnCode code = storage.Open(id, Flags, out TrustedObject? handle);
        using (handle)
        {
            byte[] data = [];
            code = handle is null ? code : handle.ReadAll(MostBytes, out data);
            return code == TeeReturnCode.Success ? output.Write(data) : code;
        }
    }

    // Replaces the object at once: a client that is killed, or a host without power, leaves the old or the new one.
    private static TeeReturnCode WriteObject(TrustedStorage storage, ReadOnlySpan<byte> id, ApplicationParameter input)
    {
        TeeReturnCode code = input.ReadAll(MostBytes, out byte[] data);
        if (code == TeeReturnCode.Success)
        {
            code = storage.Create(id, Everything | TrustedObjectFlags.Overwrite, data, out TrustedObject? handle);
            handle?.Dispose();
        }

        return code;
    }

    private static TeeReturnCode DeleteObject(TrustedStorage storage, ReadOnlySpan<byte> id)
    {
        TeeReturnCode code = storage.Open(id, Everything, out TrustedObject? handle);
        using (handle)
        {
            return handle?.Delete() ?? code;
        }
    }
}
