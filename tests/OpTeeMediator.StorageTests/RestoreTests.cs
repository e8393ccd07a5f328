using System.Buffers;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.State;

namespace OpTeeMediator.StorageTests;

/// <summary>A VM that is being restored does not reach its trusted storage before it is resumed: the one that was saved
/// may still run, and has it.</summary>
internal sealed class RestoreTests
{
    /// <summary>Where an application uses its storage.</summary>
    public enum Place
    {
        Nowhere,
        Create,
        CreateWhoseCodeIsIgnored,
        RestoreInstance,
        RestoreInstanceOnAnotherThread,
        RestoreSession,
    }

    private static readonly TrustedApplicationManifest s_single =
        new(StorageBench.Application) { SingleInstance = true, MultiSession = true, InstanceKeepAlive = true };

    private static readonly TrustedApplicationManifest s_perSession = new(StorageBench.Application);

    private static IEnumerable<TestCaseData> EarlyUses =>
        from place in Enum.GetValues<Place>()
        from manifest in (TrustedApplicationManifest[])[s_single, s_perSession]
        where place != Place.Nowhere
        select new TestCaseData(place, manifest).SetArgDisplayNames($"{place}", $"{manifest.SingleInstance}");

    [TestCaseSource(nameof(EarlyUses))]
    public async Task RestoreAsync_ApplicationUsesStorage_IsRefusedAndTheSourceKeepsIts(
        Place place, TrustedApplicationManifest manifest)
    {
        Bench source = new(new MemoryStore(), manifest, Place.Nowhere);
        ITeeSession session = await source.OpenAsync();
        Assert.That(await Bench.UseAsync(session), Is.EqualTo(TeeReturnCode.Success));
        ReadOnlyMemory<byte> state = await source.Partition.SaveAsync([session]);
        Bench target = new(source.Store, manifest, place);

        Assert.That(
            async () => await target.Partition.RestoreAsync(state, 1),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains($"{manifest.Uuid} uses its trusted storage"));
        target.Partition.Abandon();
        await target.Partition.DisposeAsync();

        Assert.That(target.Codes, Is.Not.Empty.And.All.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(target.Ends, Is.EqualTo((string[])["Dispose"]), "Its instance is freed, and not told of an end.");
        Assert.That(source.Store.Leases[StorageBench.Machine], Is.EqualTo(1), "No lease is taken.");
        Assert.That(await Bench.UseAsync(session), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(source.Logger.Messages, Is.Empty);
    }

    [Test]
    public async Task RestoreAsync_UntilCommit_StorageIsNotAvailableAndThenTakesTheLease()
    {
        Bench source = new(new MemoryStore(), s_single, Place.Nowhere);
        ITeeSession session = await source.OpenAsync();
        _ = await Bench.UseAsync(session);
        ReadOnlyMemory<byte> state = await source.Partition.SaveAsync([session]);
        Bench target = new(source.Store, s_single, Place.Nowhere);
        ITeeSession restored = (await target.Partition.RestoreAsync(state, 1))[0]!;

        // By a thread of the application's own, say.
        Assert.That(target.Applications[0].Use(), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(await Bench.UseAsync(session), Is.EqualTo(TeeReturnCode.Success), "The VM still runs there.");
        Assert.That(target.Logger.Messages, Has.One.Contains("can be used when the restored VM has been resumed"));
        target.Partition.Commit();

        Assert.That(await Bench.UseAsync(restored), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(
            await Bench.UseAsync(session), Is.EqualTo(TeeReturnCode.StorageNotAvailable), "It has lost the lease.");
        await target.Partition.DisposeAsync();
        Assert.That(target.Ends, Is.EqualTo((string[])["Destroy", "Dispose"]));
    }

    [Test]
    public async Task Abandon_RestoredOrSaved_NothingThatEndsTouchesStorage([Values] bool isRestored)
    {
        Bench source = new(new MemoryStore(), s_perSession, Place.Nowhere) { UsesStorageAtTheEnd = true };
        ITeeSession session = await source.OpenAsync();
        _ = await Bench.UseAsync(session);
        int writes = source.Store.Writes;
        ReadOnlyMemory<byte> state = await source.Partition.SaveAsync([session]);
        Bench ending = source;
        if (isRestored)
        {
            ending = new(source.Store, s_perSession, Place.Nowhere) { UsesStorageAtTheEnd = true };
            session = (await ending.Partition.RestoreAsync(state, 1))[0]!;
        }

        ending.Partition.Abandon();
        await session.CloseAsync(new TeeRequest { Operation = TeeOperation.CloseSession });
        await ending.Partition.DisposeAsync();

        Assert.That(ending.Ends, Is.EqualTo((string[])["Dispose"]));
        Assert.That(ending.Codes[^1], Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That((source.Store.Leases[StorageBench.Machine], source.Store.Writes), Is.EqualTo((1, writes)));
    }

    // Otherwise a VM could be saved that is never restored.
    [TestCase(Place.Create)]
    [TestCase(Place.CreateWhoseCodeIsIgnored)]
    public async Task CanSave_CreateHasUsedStorage_IsFalse(Place place)
    {
        Bench bench = new(new MemoryStore(), s_perSession, place);

        Assert.That(bench.Partition.CanSave(await bench.OpenAsync()), Is.False);
        Assert.That(bench.Codes, Is.EqualTo((TeeReturnCode[])[TeeReturnCode.Success]));
    }

    /// <summary>After a restore that has failed in the middle, nothing of it can be reached.</summary>
    [Test]
    public async Task OpenSessionAsync_RestoreHasFailed_HasANewInstance()
    {
        Bench source = new(new MemoryStore(), s_single, Place.Nowhere);
        ReadOnlyMemory<byte> state = await source.Partition.SaveAsync([await source.OpenAsync()]);
        Bench target = new(source.Store, s_single, Place.RestoreSession);
        Assert.That(async () => await target.Partition.RestoreAsync(state, 1), Throws.TypeOf<OpTeeStateException>());
        target.Partition.Commit();

        ITeeSession session = await target.OpenAsync();

        Assert.That(target.Applications, Has.Count.EqualTo(2));
        Assert.That(await Bench.UseAsync(session), Is.EqualTo(TeeReturnCode.Success));
        await target.Partition.DisposeAsync();
        Assert.That(target.Ends, Is.EqualTo((string[])["Dispose", "Destroy", "Dispose"]));
    }

    [Test]
    public async Task RestoreAsync_InstanceWithoutASession_IsRefusedAndFreed()
    {
        byte[] state =
            [.. "OPTS"u8, 1, 0, 0, 0, .. s_perSession.Uuid.ToByteArray(bigEndian: true), 0, 0, 0, 0];
        Bench target = new(new MemoryStore(), s_perSession, Place.Nowhere);

        Assert.That(
            async () => await target.Partition.RestoreAsync(state, 0),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains("an instance has no session"));
        Assert.That(target.Ends, Is.EqualTo((string[])["Dispose"]));
        await target.Partition.DisposeAsync();
    }

    private sealed class Bench
    {
        public Bench(MemoryStore store, TrustedApplicationManifest manifest, Place place)
        {
            Store = store;
            SoftwareTeeOptions options =
                new() { Storage = new TrustedStorageOptions(store), KeySource = new FixedKey(1) };
            options = options.Add(manifest, () =>
            {
                Applications.Add(new MovingApplication(this, place));
                return Applications[^1];
            });
            Partition = (ISavableTeePartition)new SoftwareTeeBackend(options).CreatePartition(
                new TeeVirtualMachine("vm", TeeAccess.All, 4, Logger) { Identity = StorageBench.Machine });
        }

        public MemoryStore Store { get; }

        public ListLogger Logger { get; } = new();

        public ISavableTeePartition Partition { get; }

        public bool UsesStorageAtTheEnd { get; init; }

        public List<MovingApplication> Applications { get; } = [];

        public List<TeeReturnCode> Codes { get; } = [];

        public List<string> Ends { get; } = [];

        public async Task<ITeeSession> OpenAsync()
        {
            TeeRequest request = new() { Operation = TeeOperation.OpenSession, Application = StorageBench.Application };
            TeeResult result = await Partition.OpenSessionAsync(request);
            Assert.That(result.Code, Is.EqualTo(TeeReturnCode.Success));
            return request.Session!;
        }

        public static async Task<TeeReturnCode> UseAsync(ITeeSession session) => (await session.InvokeCommandAsync(
            new TeeRequest { Operation = TeeOperation.InvokeCommand })).Code;
    }

    private sealed class MovingApplication(Bench bench, Place place)
        : TrustedApplication, ISavableApplication, IDisposable
    {
        public TeeReturnCode Use()
        {
            TeeReturnCode code = Storage.Create("x"u8, StorageBench.All | TrustedObjectFlags.Overwrite, [1],
                out TrustedObject? handle);
            handle?.Dispose();
            bench.Codes.Add(code);
            return code;
        }

        public void RestoreInstance(ReadOnlySpan<byte> state)
        {
            if (place == Place.RestoreInstance)
            {
                throw new InvalidDataException($"{Use()}");
            }

            if (place == Place.RestoreInstanceOnAnotherThread)
            {
                Task.Run(Use).Wait();
            }
        }

        public object? RestoreSession(ClientIdentity client, ReadOnlySpan<byte> state) =>
            place == Place.RestoreSession ? Use() : null;

        public void SaveSession(object? context, IBufferWriter<byte> state)
        {
        }

        public void Dispose()
        {
            bench.Ends.Add(nameof(Dispose));
            UseAtTheEnd();
        }

        protected internal override TeeReturnCode Create()
        {
            TeeReturnCode code =
                place is Place.Create or Place.CreateWhoseCodeIsIgnored ? Use() : TeeReturnCode.Success;
            return place == Place.Create ? code : TeeReturnCode.Success;
        }

        protected internal override TeeReturnCode InvokeCommand(ApplicationCall call) => Use();

        protected internal override void CloseSession(ApplicationCall call)
        {
            if (bench.UsesStorageAtTheEnd)
            {
                bench.Ends.Add(nameof(CloseSession));
            }
        }

        protected internal override void Destroy() => bench.Ends.Add(nameof(Destroy));

        private void UseAtTheEnd()
        {
            if (bench.UsesStorageAtTheEnd)
            {
                _ = Use();
            }
        }
    }
}
