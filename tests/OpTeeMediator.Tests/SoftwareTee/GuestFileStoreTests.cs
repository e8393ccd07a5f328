using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.GuestStorage;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.StorageTests;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Trusted storage in the guest's own files, by a supplicant that does as the real one, lies or
/// ends.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class GuestFileStoreTests
{
    private const uint Generic = 0xffff_0000;
    private const uint NoSpace = (uint)TeeReturnCode.StorageNoSpace;

    private const TrustedObjectFlags All =
        TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite | TrustedObjectFlags.AccessWriteMeta;

    private static readonly Guid Machine = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a31");

    private readonly MemoryStore _roots = new();
    private Func<ApplicationCall, TeeReturnCode> _action = _ => TeeReturnCode.Success;
    private SortedDictionary<string, List<byte>> _files = new(StringComparer.Ordinal);

    [Test]
    public async Task Objects_VmStartsAgain_AreThereAndNothingIsLeftOpen()
    {
        byte[] large = Pattern(50_000, 1);
        byte[] tail = Pattern(20_000, 2);
        await InVmAsync(bench =>
        {
            Put(bench, "small", [1, 2, 3]);
            Put(bench, "large", [9]);
            Put(bench, "large", large);
            Put(bench, "gone", [4]);
            Do(bench, call => Open(call, "large", handle =>
                handle.Seek(30_000, SeekOrigin.Begin) == TeeReturnCode.Success
                    ? handle.Write(tail) : TeeReturnCode.Generic));
            Do(bench, call => Open(call, "gone", handle => handle.Delete()));
            Assert.That((bench.Supplicant.Open, bench.Services.Memory.Count), Is.EqualTo((0, 0)));
        });
        tail.CopyTo(large, 30_000);
        await InVmAsync(bench =>
        {
            Assert.That(Get(bench, "small"), Is.EqualTo((TeeReturnCode.Success, "010203")));
            Assert.That(Get(bench, "large"), Is.EqualTo((TeeReturnCode.Success, Convert.ToHexStringLower(large))));
            Assert.That(Get(bench, "gone").Code, Is.EqualTo(TeeReturnCode.ItemNotFound));
        });

        // Root and versions before it leave no files: a directory, and head and chunks of two objects.
        Assert.That(_files, Has.Count.EqualTo(1 + 2 + 5));
    }

    [TestCase("changed")]
    [TestCase("shorter")]
    [TestCase("deleted")]
    [TestCase("put back")]
    [TestCase("swapped")]
    public async Task Get_AnyFileIsNotTheLatest_CorruptObject(string fault)
    {
        await InVmAsync(bench =>
        {
            Put(bench, "first", Pattern(20_000, 1));
            Put(bench, "second", Pattern(20_000, 2));
        });
        SortedDictionary<string, List<byte>> earlier = Copy(_files);
        await InVmAsync(bench => Do(bench, call => Open(call, "first", handle => handle.Write(Pattern(20_000, 3)))));
        SortedDictionary<string, List<byte>> latest = Copy(_files);
        int found = 0;
        foreach (string name in latest.Keys)
        {
            _files = Copy(latest);
            switch (fault)
            {
                case "changed":
                    _files[name][_files[name].Count / 2] ^= 1;
                    break;

                case "shorter":
                    _files[name].RemoveAt(_files[name].Count - 1);
                    break;

                case "deleted":
                    _ = _files.Remove(name);
                    break;

                case "put back":
                    // Under the latest name, what the same record had before, and beside it under its own.
                    string part = name[..name.LastIndexOf('-')];
                    string old = earlier.Keys.SingleOrDefault(key => key[..key.LastIndexOf('-')] == part) ?? "";
                    _files[name] = earlier.TryGetValue(old, out List<byte>? content) && old != name ? content : [];
                    break;

                default:
                    _files[name] = _files[latest.Keys.First(key => key != name)];
                    break;
            }

            await InVmAsync(bench =>
            {
                TeeReturnCode[] codes = [Get(bench, "first").Code, Get(bench, "second").Code];
                Assert.That(
                    codes, Has.All.EqualTo(TeeReturnCode.Success).Or.EqualTo(TeeReturnCode.CorruptObject), name);
                Assert.That(codes, Does.Contain(TeeReturnCode.CorruptObject), name);
                found++;
            });
        }

        Assert.That(found, Is.EqualTo(1 + (2 * 3)), "a directory, and head and two chunks of each object");
    }

    [Test]
    public async Task Get_AllFilesPutBack_CorruptObject()
    {
        await InVmAsync(bench => Put(bench, "name", [1]));
        SortedDictionary<string, List<byte>> earlier = Copy(_files);
        await InVmAsync(bench => Put(bench, "name", [2]));
        _files = earlier;

        await InVmAsync(bench => Assert.That(Get(bench, "name").Code, Is.EqualTo(TeeReturnCode.CorruptObject)));
    }

    [Test]
    public async Task Get_HostHasLostTheRoot_CorruptObject()
    {
        await InVmAsync(bench => Put(bench, "name", [1]));
        _roots.Roots.Clear();

        await InVmAsync(bench => Assert.That(Get(bench, "name").Code, Is.EqualTo(TeeReturnCode.CorruptObject)));
    }

    // One failure, or the supplicant's end, at each call that a replacement makes.
    [Test]
    public async Task Put_FailureAtAnyCall_ObjectIsTheOldOrTheNew([Values] bool endsThere)
    {
        byte[] old = Pattern(40_000, 1), replacement = Pattern(30_000, 2);
        await InVmAsync(bench => Put(bench, "name", old));
        (SortedDictionary<string, List<byte>> files, TeeStoreRecord root) = (Copy(_files), _roots.Roots[Machine]);
        int replaced = 0, kept = 0, calls;
        int failing = 0;
        do
        {
            (_files, _roots.Roots[Machine]) = (Copy(files), root);
            calls = 0;
            TeeReturnCode code = default;
            await InVmAsync(bench =>
            {
                bench.Services.OnSupplicant = message => (endsThere ? calls++ >= failing : calls++ == failing)
                    ? message with { ReturnCode = Generic } : bench.Supplicant.Serve(message);
                code = TryPut(bench, "name", replacement);
            });
            await InVmAsync(bench =>
            {
                (TeeReturnCode read, string content) = Get(bench, "name");
                Assert.That(read, Is.EqualTo(TeeReturnCode.Success), $"call {failing}");
                bool isNew = content == Convert.ToHexStringLower(replacement);
                Assert.That(isNew || content == Convert.ToHexStringLower(old), $"call {failing}");
                Assert.That(isNew, Is.EqualTo(code == TeeReturnCode.Success), $"call {failing}: {code}");
                replaced += isNew ? 1 : 0;
                kept += isNew ? 0 : 1;
                Put(bench, "name", [5]);
                Assert.That(Get(bench, "name").Content, Is.EqualTo("05"), $"call {failing}");
            });
            failing++;
        }
        while (calls >= failing);

        Assert.That((replaced > 0, kept > 10), Is.EqualTo((true, true)), $"{replaced} new, {kept} old");
    }

    [Test]
    public async Task Put_HostsCommitFailsOrItsOutcomeIsUnknown_ObjectIsTheOldOrTheNew([Values] bool takesEffect)
    {
        await InVmAsync(bench =>
        {
            Put(bench, "name", [1]);
            static void Fail() => throw new TeeStoreException("The connection is gone.");
            _roots.BeforeCommit = takesEffect ? () => { } : Fail;
            _roots.AfterCommit = takesEffect ? Fail : () => { };
            TeeReturnCode code = TryPut(bench, "name", [2]);
            (_roots.BeforeCommit, _roots.AfterCommit) = (() => { }, () => { });

            Assert.That(code, Is.EqualTo(TeeReturnCode.StorageNotAvailable));
            Assert.That(Get(bench, "name"), Is.EqualTo((TeeReturnCode.Success, takesEffect ? "02" : "01")));
        });
    }

    [TestCase(Generic, TeeReturnCode.StorageNotAvailable)]
    [TestCase(NoSpace, TeeReturnCode.StorageNoSpace)]
    public async Task Put_SupplicantRefuses_CodeSaysWhyAndLaterItWorks(uint answer, TeeReturnCode expected)
    {
        await InVmAsync(bench =>
        {
            bench.Services.OnSupplicant = message => message with { ReturnCode = answer };
            TeeReturnCode code = TryPut(bench, "name", [1]);
            bench.Services.OnSupplicant = bench.Supplicant.Serve;

            Assert.That(code, Is.EqualTo(expected));
            Assert.That(bench.Loggers.Entries.Where(entry => entry.Id.Id == 3100), Is.Not.Empty);
            Put(bench, "name", [2]);
            Assert.That(Get(bench, "name").Content, Is.EqualTo("02"));
        });
    }

    [Test]
    public async Task Get_SupplicantClaimsMoreThanFits_StorageNotAvailable()
    {
        await InVmAsync(bench =>
        {
            Put(bench, "name", [1]);
            bench.Services.OnSupplicant = message =>
            {
                GuestMessage answer = bench.Supplicant.Serve(message);
                if (answer.Parameters.Length == 2 && (uint)answer.Parameters[0].A == OpTeeRpc.FileRead)
                {
                    answer = answer with
                    {
                        Parameters = [answer.Parameters[0], answer.Parameters[1] with { B = ulong.MaxValue }],
                    };
                }

                return answer;
            };

            Assert.That(Get(bench, "name").Code, Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        });
    }

    [Test]
    public async Task Get_GuestsFileHasNoEnd_ReadUpToTheLargestRecordAndCorruptObject()
    {
        const ulong LargestRecord = 16 << 20;
        await InVmAsync(bench =>
        {
            Put(bench, "name", [1]);
            ulong read = 0;
            bench.Services.OnSupplicant = message =>
            {
                if ((uint)message.Parameters[0].A != OpTeeRpc.FileRead)
                {
                    return bench.Supplicant.Serve(message);
                }

                // As many bytes as fit, whatever they are; the end is there so that the test has one.
                read += message.Parameters[1].B;
                return message with { ReturnCode = read < 3 * LargestRecord ? 0 : Generic };
            };
            TeeReturnCode code = Get(bench, "name").Code;
            bench.Services.OnSupplicant = bench.Supplicant.Serve;

            Assert.That(code, Is.EqualTo(TeeReturnCode.CorruptObject));
            Assert.That(read, Is.GreaterThan(LargestRecord).And.LessThan(2 * LargestRecord));
            Assert.That(Get(bench, "name"), Is.EqualTo((TeeReturnCode.Success, "01")));
        });
    }

    [Test]
    public async Task Delete_GuestsFolderNeverBecomesEmpty_EndsAfterTheMostFilesOfAnObject()
    {
        const int MostFilesOfAnObject = 1 << 16;
        await InVmAsync(bench =>
        {
            // More files than are removed at a time.
            Put(bench, "name", Pattern(65 * 16_384, 1));
            int removed = 0;
            bench.Services.OnSupplicant = message => (uint)message.Parameters[0].A == OpTeeRpc.FileRemove
                ? message with { ReturnCode = removed++ < 3 * MostFilesOfAnObject ? 0 : Generic }
                : bench.Supplicant.Serve(message);
            Do(bench, call => Open(call, "name", handle => handle.Delete()));
            bench.Services.OnSupplicant = bench.Supplicant.Serve;

            Assert.That(removed, Is.GreaterThanOrEqualTo(MostFilesOfAnObject).And.LessThan(2 * MostFilesOfAnObject));
            Assert.That(Get(bench, "name").Code, Is.EqualTo(TeeReturnCode.ItemNotFound));
            Put(bench, "name", [2]);
            Assert.That(Get(bench, "name").Content, Is.EqualTo("02"));
        });
    }

    [Test]
    public void Write_RecordIsLargerThanAFileMayBe_IsRefusedBeforeTheGuestIsAsked()
    {
        TeeStoreKey key = new(Guid.NewGuid(), Guid.NewGuid(), 0);

        // On a thread without an operation no call of the guest is possible.
        Assert.That(
            () => new RecordFiles(Machine).Write(key, new TeeStoreRecord(1, new byte[(16 << 20) + 1])),
            Throws.TypeOf<TeeStoreException>()
                .With.Property(nameof(TeeStoreException.Failure)).EqualTo(TeeStoreFailure.Full));
    }

    [Test]
    public async Task Put_InlineApplication_StorageNotAvailable()
    {
        _action = call => call.Storage.Create([1], All, [1], out _);
        await using GuestCallBench bench = Create(new TrustedApplicationManifest(SoftwareTeeBench.PerSession.Uuid)
        {
            Execution = TeeExecution.Inline,
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
    }

    [Test]
    public async Task Put_InlineApplicationWhileAnotherOneStores_StorageNotAvailableAtOnce()
    {
        _action = call => call.Storage.Create([(byte)call.CommandId], All, [1], out _);
        TrustedApplicationManifest inline = new(Guid.NewGuid()) { Execution = TeeExecution.Inline };
        await using GuestCallBench bench =
            Create(new TrustedApplicationManifest(SoftwareTeeBench.PerSession.Uuid), inline);
        PendingCall inside = bench.StartUntilCommand(bench.Session, command: 1);

        uint answer = bench.Driver.Invoke(bench.Open(inline.Uuid), 2).ReturnCode;

        Assert.That((TeeReturnCode)answer, Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(bench.Finish(inside), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task OpenSession_InlineApplicationThatNeedsStorage_ItemNotFound()
    {
        TrustedApplicationManifest inline =
            new(Guid.NewGuid()) { Execution = TeeExecution.Inline, NeedsStorage = true };
        await using GuestCallBench bench =
            Create(new TrustedApplicationManifest(SoftwareTeeBench.PerSession.Uuid), inline);

        uint answer = bench.Driver.OpenSession(inline.Uuid).ReturnCode;

        Assert.That((TeeReturnCode)answer, Is.EqualTo(TeeReturnCode.ItemNotFound));
    }

    [Test]
    public async Task PauseAsync_OneOperationWaitsForAnotherOnesFile_IsPausedAndBothGoOn()
    {
        _action = call => call.Storage.Create([(byte)call.CommandId], All, [1], out _);
        await using GuestCallBench bench = Create(new TrustedApplicationManifest(SoftwareTeeBench.PerSession.Uuid));
        PendingCall inside = bench.StartUntilCommand(bench.Session, command: 1);
        PendingCall waiting = bench.Start(bench.Open(SoftwareTeeBench.PerSession.Uuid), command: 2);

        bool isPaused = await bench.Guest.PauseAsync();
        bench.Guest.Resume();

        Assert.That(isPaused);
        Assert.That(bench.Finish(inside), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Finish(waiting), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void Constructor_RootsInTheGuestToo_Throws() => Assert.That(
        () => new GuestFileStore(new GuestFileStore(_roots)), Throws.ArgumentException);

    private static SortedDictionary<string, List<byte>> Copy(SortedDictionary<string, List<byte>> files)
    {
        SortedDictionary<string, List<byte>> copy = new(StringComparer.Ordinal);
        foreach ((string name, List<byte> content) in files)
        {
            copy.Add(name, [.. content]);
        }

        return copy;
    }

    private static byte[] Pattern(int length, int seed)
    {
        byte[] data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    private static TeeReturnCode Open(ApplicationCall call, string id, Func<TrustedObject, TeeReturnCode> use)
    {
        TeeReturnCode code = call.Storage.Open(System.Text.Encoding.UTF8.GetBytes(id), All, out TrustedObject? handle);
        using (handle)
        {
            return handle is null ? code : use(handle);
        }
    }

    private void Put(GuestCallBench bench, string id, byte[] data) =>
        Assert.That(TryPut(bench, id, data), Is.EqualTo(TeeReturnCode.Success));

    private TeeReturnCode TryPut(GuestCallBench bench, string id, byte[] data)
    {
        _action = call =>
        {
            TeeReturnCode code = call.Storage.Create(
                System.Text.Encoding.UTF8.GetBytes(id), All | TrustedObjectFlags.Overwrite, data, out var handle);
            handle?.Dispose();
            return code;
        };
        return bench.Invoke();
    }

    private (TeeReturnCode Code, string Content) Get(GuestCallBench bench, string id)
    {
        byte[] content = [];
        _action = call => Open(call, id, handle => handle.ReadAll(1 << 20, out content));
        return (bench.Invoke(), Convert.ToHexStringLower(content));
    }

    private void Do(GuestCallBench bench, Func<ApplicationCall, TeeReturnCode> action)
    {
        _action = action;
        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
    }

    private GuestCallBench Create(TrustedApplicationManifest manifest, params TrustedApplicationManifest[] others)
    {
        SoftwareTeeOptions tee = new()
        {
            KeySource = new FixedKey(1),
            Storage = new TrustedStorageOptions(new GuestFileStore(_roots)),
        };
        foreach (TrustedApplicationManifest other in others)
        {
            tee = tee.Add(other, () => new ScriptedApplication { WhenInvoked = call => new(_action(call)) });
        }

        GuestCallBench bench = new(
            manifest,
            call => new(_action(call)),
            new OpTeeGuestOptions { Identity = Machine },
            teeOptions: tee);
        foreach ((string name, List<byte> content) in _files)
        {
            bench.Supplicant.Files.Add(name, content);
        }

        return bench;
    }

    // The guest's disk is the next VM's.
    private async Task InVmAsync(Action<GuestCallBench> use)
    {
        await using GuestCallBench bench = Create(SoftwareTeeBench.PerSession);
        use(bench);
        _files = bench.Supplicant.Files;
    }
}
