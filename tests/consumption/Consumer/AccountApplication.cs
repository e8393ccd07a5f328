using System.Buffers.Binary;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.BouncyCastle;
using OpTeeMediator.SoftwareTee.Storage;

namespace Consumer;

/// <summary>
/// A trusted application with a balance that its VM keeps: an object of trusted storage with an AES-CMAC.
/// </summary>
internal sealed class AccountApplication : TrustedApplication
{
    /// <summary>Command: adds A of parameter 0 to the balance, which becomes A.</summary>
    public const uint Deposit = 0;

    private const int BalanceSize = sizeof(uint);

    private const TrustedObjectFlags Everything =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.Overwrite;

    public static TrustedApplicationManifest Manifest { get; } = new(new("3f9d5be2-6c1f-4a60-9d1e-2b0c4a7e5d10"))
    {
        NeedsStorage = true,
    };

    private static ReadOnlySpan<byte> Name => "balance"u8;

    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        if (call.CommandId != Deposit || !call.HasParameters(TeeParameterKind.ValueInOut))
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = Read(call.Storage, out uint balance);
        if (code == TeeReturnCode.Success)
        {
            balance += call[0].A;
            call[0].A = balance;
            code = Write(call.Storage, balance);
        }

        return code;
    }

    private TeeReturnCode Read(TrustedStorage storage, out uint balance)
    {
        balance = 0;
        TeeReturnCode code = storage.Open(Name, TrustedObjectFlags.AccessRead, out TrustedObject? handle);
        using (handle)
        {
            if (handle is null)
            {
                return code == TeeReturnCode.ItemNotFound ? TeeReturnCode.Success : code;
            }

            code = handle.ReadAll(BalanceSize + AesCmac.MacSize, out byte[] data);
            if (code != TeeReturnCode.Success)
            {
                return code;
            }

            ReadOnlySpan<byte> bytes = data.AsSpan(0, BalanceSize);
            balance = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
            return data.AsSpan(BalanceSize).SequenceEqual(Authenticate(bytes))
                ? TeeReturnCode.Success
                : TeeReturnCode.CorruptObject;
        }
    }

    private TeeReturnCode Write(TrustedStorage storage, uint balance)
    {
        byte[] data = new byte[BalanceSize + AesCmac.MacSize];
        BinaryPrimitives.WriteUInt32LittleEndian(data, balance);
        Authenticate(data.AsSpan(0, BalanceSize)).CopyTo(data, BalanceSize);
        TeeReturnCode code = storage.Create(Name, Everything, data, out TrustedObject? handle);
        handle?.Dispose();
        return code;
    }

    private byte[] Authenticate(ReadOnlySpan<byte> message)
    {
        Span<byte> key = stackalloc byte[16];
        DeriveKey("account"u8, key);
        using AesCmac cmac = new(key);
        cmac.Update(message);
        byte[] tag = new byte[AesCmac.MacSize];
        cmac.Final(tag);
        return tag;
    }
}
