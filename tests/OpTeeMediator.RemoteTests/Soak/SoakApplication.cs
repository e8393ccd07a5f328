using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.RemoteTests.Soak;

/// <summary>A trusted application that uses all that it has, and sometimes panics.</summary>
internal sealed class SoakApplication : TrustedApplication
{
    /// <summary>The command that waits until it is cancelled; those below it end by themselves.</summary>
    public const uint Wait = 8;

    private const TrustedObjectFlags All =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.AccessWriteMeta;

    private static readonly byte[] Content = new byte[20_000];

    protected override async ValueTask<TeeReturnCode> InvokeCommandAsync(ApplicationCall call)
    {
        // The upper half of the command names the object and its size.
        byte[] id = [(byte)(call.CommandId >> 16 & 7)];
        int size = (int)(call.CommandId >> 16) % Content.Length;
        switch (call.CommandId & 0xffff)
        {
            case 0:
                TeeReturnCode code =
                    call.Storage.Create(id, All | TrustedObjectFlags.Overwrite, Content.AsSpan(0, size), out var made);
                made?.Dispose();
                return code;

            case 1:
                code = call.Storage.Open(id, All, out TrustedObject? opened);
                code = opened?.ReadAll(Content.Length, out _) ?? code;
                opened?.Dispose();
                return code;

            case 2:
                code = call.Storage.Open(id, All, out TrustedObject? deleted);
                return deleted?.Delete() ?? code;

            case 3:
                throw new InvalidOperationException("A panic, as the soak test wants it.");

            case 4:
                return (await call.Guest.GetTimeAsync()).Code;

            case 5:
                code = Allocate(size, out ApplicationBuffer? buffer);
                buffer?.Span.Fill(1);

                // Every other one is left to the end of the instance.
                (size % 2 == 0 ? buffer : null)?.Dispose();
                return code;

            case 6:
                using (GuestFile? file = call.Guest.Files.Create($"soak/{id[0]}", out code))
                {
                    code = file?.Write(0, Content.AsSpan(0, size)) ?? code;
                }

                return size % 2 == 0 ? call.Guest.Files.Remove($"soak/{id[0]}") : code;

            case 7:
                return await call.Guest.SuspendAsync(TimeSpan.Zero);

            default:
                _ = call.UnmaskCancellation();
                return await call.WaitAsync(TimeSpan.FromMinutes(1));
        }
    }
}
