using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>The trusted storage of one VM, with the objects of one application.</summary>
internal sealed class StorageBench : IDisposable
{
    public const TrustedObjectFlags All =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.AccessWriteMeta;

    public static readonly Guid Machine = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a01");
    public static readonly Guid Application = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a02");

    private readonly VirtualMachineStorage _machine;

    public StorageBench(
        ITeeStore store,
        ITeeKeySource? key = null,
        IRollbackAnchor? anchor = null,
        long quota = 16 << 20,
        Guid? machine = null,
        TimeProvider? time = null)
    {
        TrustedStorageOptions options = new(store)
        {
            Anchor = anchor,
            Quota = quota,
            TimeProvider = time ?? TimeProvider.System,
        };
        _machine = new VirtualMachineStorage(options, key ?? new FixedKey(1), machine ?? Machine, "vm", Logger);
        Storage = Of(Application);
    }

    public ListLogger Logger { get; } = new();

    public TrustedStorage Storage { get; }

    public TrustedStorage Of(Guid application) => new(application, _machine);

    /// <summary>Creates or replaces an object.</summary>
    public TeeReturnCode Put(string id, params byte[] data)
    {
        TeeReturnCode code =
            Storage.Create(Bytes(id), All | TrustedObjectFlags.Overwrite, data, out TrustedObject? handle);
        handle?.Dispose();
        return code;
    }

    /// <summary>Reads an object.</summary>
    public TeeReturnCode Get(string id, out byte[] data)
    {
        data = [];
        TeeReturnCode code = Storage.Open(Bytes(id), TrustedObjectFlags.AccessRead, out TrustedObject? handle);
        using (handle)
        {
            if (handle is null || (code = handle.GetSize(out long size)) != TeeReturnCode.Success)
            {
                return code;
            }

            data = new byte[size];
            return handle.Read(data, out _);
        }
    }

    public TrustedObject Open(string id, TrustedObjectFlags flags = All)
    {
        Assert.That(Storage.Open(Bytes(id), flags, out TrustedObject? handle), Is.EqualTo(TeeReturnCode.Success));
        return handle!;
    }

    public void Dispose() => _machine.Dispose();

    public static byte[] Bytes(string id) => System.Text.Encoding.UTF8.GetBytes(id);

    public static byte[] Pattern(int length, int seed)
    {
        byte[] data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }
}
