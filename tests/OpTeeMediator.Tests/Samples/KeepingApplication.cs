using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.Tests.Samples;

/// <summary>A trusted application that keeps one byte in its storage, and nothing in memory: it can be saved.</summary>
internal sealed class KeepingApplication : TrustedApplication, ISavableApplication, IDisposable
{
    /// <summary>Command: keeps the a of parameter 0 (value, input).</summary>
    public const uint Keep = 0;

    /// <summary>Command: parameter 0 (value, output) gets it as a.</summary>
    public const uint Tell = 1;

    private const TrustedObjectFlags Everything =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.AccessWriteMeta;

    public static readonly TrustedApplicationManifest Manifest =
        new(new Guid("d2a1c6b0-2c65-4b4f-8a3c-08b2a7b4d021")) { NeedsStorage = true };

    /// <summary>Gets what becomes of the attempt to keep 99 when the application is freed; <see langword="null"/>: it
    /// makes none.</summary>
    public Action<TeeReturnCode>? OnDispose { get; init; }

    protected internal override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        TeeReturnCode code;
        TrustedObject? handle;
        if (call.CommandId == Keep)
        {
            return KeepIt((byte)call[0].A);
        }

        code = call.Storage.Open("a"u8, TrustedObjectFlags.AccessRead, out handle);
        using (handle)
        {
            byte[] kept = [0];
            code = handle is null ? code : handle.Read(kept, out _);
            call[0].A = kept[0];
            return code;
        }
    }

    public void Dispose() => OnDispose?.Invoke(KeepIt(99));

    private TeeReturnCode KeepIt(byte value)
    {
        TeeReturnCode code = Storage.Create(
            "a"u8, Everything | TrustedObjectFlags.Overwrite, [value], out TrustedObject? handle);
        handle?.Dispose();
        return code;
    }
}
