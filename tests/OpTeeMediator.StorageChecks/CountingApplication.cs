using System.Buffers.Binary;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageChecks;

/// <summary>A trusted application that counts, in an object, how often a session was opened.</summary>
internal sealed class CountingApplication : TrustedApplication
{
    /// <summary>What the TEE is told of it.</summary>
    public static readonly TrustedApplicationManifest Manifest =
        new(new Guid("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a0a")) { NeedsStorage = true };

    /// <summary>The number that was written last.</summary>
    public static int Count { get; private set; }

    /// <inheritdoc/>
    protected override TeeReturnCode OpenSession(ApplicationCall call)
    {
        Span<byte> number = stackalloc byte[sizeof(int)];
        TeeReturnCode code = call.Storage.Open("count"u8, TrustedObjectFlags.AccessRead, out TrustedObject? handle);
        if (handle is not null)
        {
            code = handle.Read(number, out _);
            handle.Dispose();
        }

        if (code is not (TeeReturnCode.Success or TeeReturnCode.ItemNotFound))
        {
            return code;
        }

        Count = BinaryPrimitives.ReadInt32LittleEndian(number) + 1;
        BinaryPrimitives.WriteInt32LittleEndian(number, Count);
        code = call.Storage.Create(
            "count"u8, TrustedObjectFlags.AccessWrite | TrustedObjectFlags.Overwrite, number, out handle);
        handle?.Dispose();
        return code;
    }
}
