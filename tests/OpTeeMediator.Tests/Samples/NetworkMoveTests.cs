using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using KvmVmm.CommandLine;
using KvmVmm.Migration;
using KvmVmm.Saving;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.State;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Samples;

/// <summary>KvmVmm's move over TCP of a VM whose application keeps something in trusted storage: the destination takes
/// the storage's lease after the source has given the VM up.</summary>
/// <remarks>Each side has a connection of its own to the database, as two processes have.</remarks>
[TestFixture]
internal sealed class NetworkMoveTests
{
    private const string MachineSection = "KVM.";
    private const string SourceOpens = "the source opens the storage";
    private const string SourceIsClosed = SourceOpens + NotedStore.Closed;
    private const string TargetIsRestored = "the target is restored";
    private const string TargetGoesOn = "the target goes on";
    private const string TargetOpens = "the target opens the storage";

    private static readonly GuestRange Ram = new(0x4000_0000, 1 << 20);
    private static readonly GuestRange SourcePages = new(Ram.Start, Ram.Length / 2);
    private static readonly GuestRange TargetPages = new(SourcePages.End, Ram.Length / 2);
    private static readonly OpTeeGuestOptions GuestOptions = new()
    {
        Identity = new Guid("3d4f2b52-6a0e-4f76-9d1b-7f2f4b1c9a02"),
        Access = TeeAccess.All,
    };

    private readonly ConcurrentQueue<string> _events = new();
    private string _folder = "";
    private VmmOptions _options = null!;
    private MemfdGuestMemory _sourceMemory = null!;
    private MemfdGuestMemory _targetMemory = null!;

    [SetUp]
    public void SetUp()
    {
        _folder = Directory.CreateTempSubdirectory("network-move-").FullName;
        TeeKeyFile.Create(InFolder("state.key"));
        TeeKeyFile.Create(InFolder("storage.key"));
        MigrationAddress address = MigrationAddress.TryParse($"127.0.0.1:{FreePort()}")!;
        _options = new VmmOptions
        {
            Kernel = "", MemoryMebibytes = 1, StateKey = InFolder("state.key"), MigrateTo = address,
            MigrateFrom = address,
        };
        _sourceMemory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions(), Ram);
        _targetMemory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions(), Ram);
        _events.Clear();
    }

    [TearDown]
    public void TearDown()
    {
        _targetMemory.Dispose();
        _sourceMemory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task Move_ApplicationHasStorage_TargetTakesItAfterTheSourceHasGivenUpAndSourceWritesNothingMore()
    {
        TrackedGuestMemory memory = new(_sourceMemory);
        await using OpTeeGuest source = new(memory, CreateTee(SourceOpens), GuestOptions);
        FakeDriver sourceDriver = new(source, memory, SourcePages);
        uint session = sourceDriver.OpenSession(KeepingApplication.Manifest.Uuid).Session;
        Assert.That(Keep(sourceDriver, session, 1), Is.Zero);
        Task<OpTeeGuest> arriving = Task.Run(() => ReceiveAsync(isRefused: false));

        await SendAsync(source, memory);

        await using OpTeeGuest target = await arriving;
        target.Resume();
        FakeDriver targetDriver = new(target, _targetMemory, TargetPages);
        Assert.That(Kept(targetDriver, session), Is.EqualTo((0u, 1ul)), "what the source has kept last");
        Assert.That(Keep(targetDriver, session, 2), Is.Zero);
        Assert.That(_events, Is.EqualTo((string[])[SourceOpens, TargetIsRestored, TargetGoesOn, TargetOpens]));

        // A source that does not end, though it has given the VM up.
        source.Resume();
        Assert.That(Keep(sourceDriver, session, 3), Is.EqualTo((uint)TeeReturnCode.StorageNotAvailable));
        Assert.That(Keep(sourceDriver, session, 3), Is.EqualTo((uint)TeeReturnCode.StorageNotAvailable));
        Assert.That(Kept(targetDriver, session), Is.EqualTo((0u, 2ul)));
        Assert.That(_events, Has.Count.EqualTo(4), "the source does not take the lease again");
    }

    [Test]
    public async Task Move_SourceIsAbandoned_ItHoldsNothingAndTargetHasTheStorageAtOnce()
    {
        TrackedGuestMemory memory = new(_sourceMemory);
        await using OpTeeGuest source = new(memory, CreateTee(SourceOpens), GuestOptions);
        FakeDriver sourceDriver = new(source, memory, SourcePages);
        uint session = sourceDriver.OpenSession(KeepingApplication.Manifest.Uuid).Session;
        _ = sourceDriver.Register(sourceDriver.AllocatePages(2, 1), 0, 8192, 1);
        Assert.That(Keep(sourceDriver, session, 1), Is.Zero);
        Task<OpTeeGuest> arriving = Task.Run(() => ReceiveAsync(isRefused: false));
        await SendAsync(source, memory);

        await source.AbandonAsync();

        await using OpTeeGuest target = await arriving;
        target.Resume();
        FakeDriver targetDriver = new(target, _targetMemory, TargetPages);
        Assert.That(Kept(targetDriver, session), Is.EqualTo((0u, 1ul)));
        Assert.That(Keep(targetDriver, session, 2), Is.Zero);
        Assert.That(_events, Does.Contain(SourceIsClosed).And.Contain(TargetOpens));
        Assert.That(_sourceMemory.TryDiscard(Ram), "the source has no page pinned");
    }

    [Test]
    public async Task Move_TargetRefusesAfterItHasRestoredTheTee_SourceKeepsTheStorage()
    {
        TrackedGuestMemory memory = new(_sourceMemory);
        await using OpTeeGuest source = new(memory, CreateTee(SourceOpens), GuestOptions);
        FakeDriver driver = new(source, memory, SourcePages);
        uint session = driver.OpenSession(KeepingApplication.Manifest.Uuid).Session;
        Assert.That(Keep(driver, session, 1), Is.Zero);
        Task<OpTeeGuest> arriving = Task.Run(() => ReceiveAsync(isRefused: true));

        Assert.That(
            () => SendAsync(source, memory),
            Throws.TypeOf<MigrationException>().With.Message.Contains("refuses: no KVM"));
        Assert.That(async () => await arriving, Throws.TypeOf<InvalidOperationException>());

        source.Resume();
        Assert.That(Keep(driver, session, 2), Is.Zero);
        Assert.That(Kept(driver, session), Is.EqualTo((0u, 2ul)));
        Assert.That(_events, Is.EqualTo((string[])[SourceOpens, TargetIsRestored]));
    }

    [TestCase("--migrate-to 127.0.0.1:700")]
    [TestCase("--migrate-from 127.0.0.1:700")]
    [TestCase("--migrate-from [::1]:700")]
    public void Parse_AddressOfANetwork_NeedsAKey(string address)
    {
        Assert.That(OptionsOf(address).WrongCombination, Does.Contain("needs --state-key"));
        Assert.That(OptionsOf($"{address} --state-key key").WrongCombination, Is.Null);
    }

    private static VmmOptions OptionsOf(string arguments) =>
        VmmCommandLine.OptionsOf(VmmCommandLine.Parse($"--kernel Image {arguments}".Split(' ')));

    private static int FreePort()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private string InFolder(string name) => Path.Combine(_folder, name);

    private SoftwareTeeBackend CreateTee(string opens)
    {
        NotedStore store = new(new SqliteTeeStore(InFolder("database")), _events, opens);
        SoftwareTeeOptions options = new()
        {
            KeySource = new TeeKeyFile(InFolder("storage.key")),
            Storage = new TrustedStorageOptions(store),
        };
        return new SoftwareTeeBackend(options.Add(KeepingApplication.Manifest, () => new KeepingApplication()));
    }

    // As the VMM does it, but for vCPUs.
    private async Task SendAsync(OpTeeGuest guest, TrackedGuestMemory memory)
    {
        using MigrationSource source = Connect(memory);
        source.CopyWhileRunning(disk: null);
        Assert.That(await guest.DrainAsync());
        Assert.That(await guest.PauseAsync());
        byte[] state = await guest.SaveAsync(new OpTeeStateOptions());
        _ = source.Finish(
            (tee, _) => tee.Write(state),
            machine =>
            {
                using Stream section = machine.BeginSection(MachineSection);
                section.WriteByte(1);
            },
            () => [],
            disk: null,
            new SaveTimes());
    }

    // The target listens soon.
    private MigrationSource Connect(TrackedGuestMemory memory)
    {
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                return MigrationSource.Connect(_options, memory, () => null, CancellationToken.None);
            }
            catch (MigrationException) when (attempt < 3000)
            {
                Thread.Sleep(10);
            }
        }
    }

    private async Task<OpTeeGuest> ReceiveAsync(bool isRefused)
    {
        using MigrationTarget target = (await MigrationTarget.TryAcceptAsync(_options, CancellationToken.None))!;
        _ = target.Receive(_options, _targetMemory, disk: null, arrival: null, out Stream tee);
        using MemoryStream state = new();
        tee.CopyTo(state);
        OpTeeGuest guest = await OpTeeGuest.RestoreAsync(
            _targetMemory, CreateTee(TargetOpens), GuestOptions, state.ToArray(), new OpTeeStateOptions());
        _events.Enqueue(TargetIsRestored);
        try
        {
            _ = target.Finish(
                _targetMemory,
                machine =>
                {
                    Assert.That(machine.OpenSection(MachineSection).ReadByte(), Is.EqualTo(1));
                    if (isRefused)
                    {
                        throw new InvalidOperationException("no KVM");
                    }
                },
                TimeSpan.Zero,
                () => [],
                NullLogger.Instance);
        }
        catch (Exception failure)
        {
            target.Refuse(failure.Message);
            await guest.DisposeAsync();
            throw;
        }

        _events.Enqueue(TargetGoesOn);
        return guest;
    }

    private static uint Keep(FakeDriver driver, uint session, ulong value) =>
        driver.Invoke(session, KeepingApplication.Keep, GuestParameter.ValueIn(value, 0)).ReturnCode;

    private static (uint Code, ulong Value) Kept(FakeDriver driver, uint session)
    {
        GuestMessage answer = driver.Invoke(session, KeepingApplication.Tell, GuestParameter.ValueOut());
        return (answer.ReturnCode, answer.Parameters[0].A);
    }
}
