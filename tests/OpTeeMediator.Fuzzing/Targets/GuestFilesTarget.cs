using OpTeeMediator.Backends;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.GuestStorage;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.StorageTests;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Stored objects in files of a guest whose tee-supplicant lies, and changes files.</summary>
/// <remarks>An input: what the application does with three objects, and between, for each call of the guest, how the
/// supplicant serves it. What is read is what was written last, or there is an error.</remarks>
internal sealed class GuestFilesTarget : FuzzTarget
{
    private const ulong RamStart = 0x4000_0000;
    private const ulong RamLength = 8 << 20;
    private const int MostOperations = 10;
    private const int Objects = 3;
    private const TrustedObjectFlags All =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.AccessWriteMeta;

    private static readonly Guid Machine = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a31");
    private static readonly int[] Sizes = [0, 3, 5000, 20_000];

    private readonly InputReader _input = new();
    private readonly MemfdGuestMemory _ram = MemfdGuestMemory.Create(new GuestRange(RamStart, RamLength));

    // What each object may contain; null if it may not exist.
    private readonly List<byte[]?>[] _possible = new List<byte[]?>[Objects];
    private Func<ApplicationCall, TeeReturnCode> _action = _ => TeeReturnCode.Success;
    private byte _version;

    // Whether the supplicant has refused something in this operation; whether it has lied, or changed files, at all.
    private bool _hasRefused;
    private bool _hasLied;

    // Objects that are written, read, changed and deleted; each way of serving at one of the first calls; each call of
    // a write refused, and the object read after it.
    public override IEnumerable<byte[]> Seeds =>
    [
        [0, 0, 2, 1, 0, 2, 0, 0, 3, 0, 1, 0],
        .. Enumerable.Range(9, 7).Select(form => (byte[])
            [0, 0, 3, .. new byte[9], 1, 0, 0, (byte)form, 0, 7, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]),
        .. Enumerable.Range(9, 7).Select(form => (byte[])
            [0, 0, 2, .. new byte[9], 0, 0, 2, 0, 0, 0, 0, (byte)form, 0, 7, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]),
        .. Enumerable.Range(0, 12).Select(call => (byte[])
            [0, 1, 2, .. new byte[call], 9, 0, .. Enumerable.Repeat((byte)1, 60)]),
    ];

    public override void Execute(ReadOnlySpan<byte> input)
    {
        _input.Begin(input);
        _version = 0;
        _hasLied = false;
        for (int index = 0; index < Objects; index++)
        {
            _possible[index] = [null];
        }

        WatchedLog log = new(static exception => exception is TeeStoreException or CorruptStorageException);
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions
        {
            KeySource = new FixedKey(1),
            Storage = new TrustedStorageOptions(new GuestFileStore(new MemoryStore())),
        }.Add(new TrustedApplicationManifest(FuzzVm.Application), () => new FuzzApplication(call => _action(call))));
        OpTeeGuest guest = new(_ram, tee, new OpTeeGuestOptions { Identity = Machine, LoggerFactory = log });
        try
        {
            Use(guest);
        }
        finally
        {
            guest.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }

        if (log.Failure is { } failure)
        {
            throw failure;
        }

        Require(guest.Status == OpTeeGuestStatus.Nothing, "nothing is left of a VM");
    }

    private void Use(OpTeeGuest guest)
    {
        FakeDriver driver = new(guest, _ram, new GuestRange(RamStart, RamLength));
        RpcServices services = new(driver);
        FileSupplicant supplicant = new(services, _ram);
        services.OnSupplicant = message => Serve(supplicant, message);
        driver.OnRpc = services.Serve;
        uint session = driver.OpenSession(FuzzVm.Application).Session;
        for (int operations = 0; operations < MostOperations && !_input.IsAtEnd; operations++)
        {
            int kind = _input.Below(4);
            int number = _input.Below(Objects);
            byte[] data = new byte[Sizes[_input.Below(Sizes.Length)]];
            Array.Fill(data, ++_version);
            byte[]? read = null;
            _hasRefused = false;
            _action = call => Perform(call.Storage, kind, number, data, out read);
            TeeReturnCode code = (TeeReturnCode)driver.Invoke(session, 0).ReturnCode;
            Require(code != TeeReturnCode.TargetDead, "no answer of a guest makes an application panic");
            Judge(kind, number, code, data, read);
            Require(services.Memory.Count == 0, "the guest's memory is given back");
        }
    }

    private static TeeReturnCode Perform(TrustedStorage storage, int kind, int number, byte[] data, out byte[]? read)
    {
        read = null;
        byte[] id = [(byte)number];
        TeeReturnCode code = kind == 0
            ? storage.Create(id, All | TrustedObjectFlags.Overwrite, data, out TrustedObject? handle)
            : storage.Open(id, All, out handle);
        using (handle)
        {
            return handle is null ? code : kind switch
            {
                0 => code,
                1 => handle.ReadAll(1 << 20, out read),
                2 => handle.Write(data),
                _ => handle.Delete(),
            };
        }
    }

    private void Judge(int kind, int number, TeeReturnCode code, byte[] data, byte[]? read)
    {
        List<byte[]?> possible = _possible[number];
        bool isDone = code == TeeReturnCode.Success;
        switch (kind)
        {
            case 0:
                _possible[number] = isDone ? [data] : [.. possible, data];
                break;
            case 1 when isDone:
                byte[]? found = possible.Find(content => content is not null && content.AsSpan().SequenceEqual(read));
                Require(found is not null, "what is read is what was written last");
                _possible[number] = [found];
                break;
            case 2:
                List<byte[]?> changed = [.. possible.Where(old => old is not null).Select(old => Over(old!, data))];
                _possible[number] = isDone ? changed : [.. possible, .. changed];
                break;
            case 3:
                _possible[number] = isDone ? [null] : [.. possible, null];
                break;
            default:
                break;
        }

        Require(_hasLied || _hasRefused || code is TeeReturnCode.Success or TeeReturnCode.ItemNotFound,
            "what was refused before has no effect");
        Require(code != TeeReturnCode.ItemNotFound || possible.Contains(null), "an object that exists is found");
    }

    private static byte[] Over(byte[] old, byte[] data) => [.. data, .. old.AsSpan(Math.Min(data.Length, old.Length))];

    private GuestMessage Serve(FileSupplicant supplicant, GuestMessage message)
    {
        int form = _input.Below(16);
        _hasRefused |= form == 9;
        _hasLied |= form > 9;
        if (form >= 11 && supplicant.Files.Count > 0)
        {
            Change(supplicant.Files, form);
        }

        if (form == 9)
        {
            return message with { ReturnCode = 0xffff_0000 | _input.Byte() };
        }

        GuestMessage answer = supplicant.Serve(message);
        if (form != 10)
        {
            return answer;
        }

        GuestParameter[] parameters = [.. answer.Parameters];
        ref GuestParameter changed = ref parameters[_input.Below(parameters.Length)];
        ulong value = _input.Below(2) == 0 ? _input.Byte() : _input.UInt64();
        changed = _input.Below(3) switch
        {
            0 => changed with { A = value },
            1 => changed with { B = value },
            _ => changed with { C = value },
        };
        return answer with { Parameters = parameters };
    }

    private void Change(SortedDictionary<string, List<byte>> files, int form)
    {
        string name = files.Keys.ElementAt(_input.Below(files.Count));
        List<byte> file = files[name];
        switch (form)
        {
            case 11 when file.Count > 0:
                file[(int)(_input.UInt32() % (uint)file.Count)] ^= (byte)(1 + _input.Below(255));
                break;
            case 12:
                _ = files.Remove(name);
                break;
            case 13:
                files[name] = [.. files[files.Keys.ElementAt(_input.Below(files.Count))]];
                break;
            case 14:
                file.RemoveRange(0, Math.Min(file.Count, _input.Byte()));
                break;
            default:
                file.AddRange(new byte[_input.Byte()]);
                break;
        }
    }
}
