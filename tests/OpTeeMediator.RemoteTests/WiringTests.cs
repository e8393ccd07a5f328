using System.Net.Sockets;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>What a VMM and a server find when they begin.</summary>
internal sealed class WiringTests
{
    private ScriptedBackend _backend = null!;
    private RemoteBench? _bench;

    [SetUp]
    public void SetUp() => _backend = new ScriptedBackend();

    [TearDown]
    public async Task TearDown()
    {
        if (_bench is not null)
        {
            await _bench.DisposeAsync();
        }

        await _backend.DisposeAsync();
        _bench = null;
    }

    [Test]
    public void CreatePartition_NoServer_MessageNamesThePath()
    {
        RemoteTeeBackend backend = new("/nonexistent/tee");

        TeeUnavailableException? exception =
            Assert.Throws<TeeUnavailableException>(() => _ = new OpTeeGuest(Memory(), backend));

        Assert.That(exception!.Message, Does.Contain("/nonexistent/tee").And.Contain("Start it"));
    }

    [Test]
    public void CreatePartition_MemoryWithoutFile_MessageSaysSo()
    {
        _bench = new RemoteBench(_backend);

        TeeUnavailableException? exception = Assert.Throws<TeeUnavailableException>(
            () => _ = new OpTeeGuest(
                new PlainGuestMemory(Memory()),
                new RemoteTeeBackend(_bench.SocketPath)));

        Assert.That(exception!.Message, Does.Contain("no file").And.Contain("MemfdGuestMemory"));
    }

    [Test]
    public void CreatePartition_TooManyCalls_MessageNamesBothLimits()
    {
        _bench = new RemoteBench(_backend, options => options with { MaximumCalls = 8 });

        TeeUnavailableException? exception = Assert.Throws<TeeUnavailableException>(
            () => _ = new OpTeeGuest(
                Memory(),
                new RemoteTeeBackend(_bench.SocketPath),
                new OpTeeGuestOptions { Limits = new() { Calls = 9 } }));

        Assert.That(exception!.Message, Does.Contain("9 calls").And.Contain("allows 8"));
    }

    [Test]
    public void CreatePartition_TeeIsUnavailable_MessageIsTheTees()
    {
        _bench = new RemoteBench(_backend);
        _backend.OnCreate = static _ => throw new TeeUnavailableException("The TEE is full; try tomorrow.");

        Assert.That(
            () => _ = new OpTeeGuest(Memory(), new RemoteTeeBackend(_bench.SocketPath)),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("try tomorrow"));
        Assert.That(_bench.Driver.OpenSession(RemoteBench.Application).ReturnCode, Is.Zero, "the other VM");
    }

    [Test]
    public void CreatePartition_ForeignUser_ConnectionIsClosedWithOneLogLine()
    {
        _bench = new RemoteBench(_backend);
        string path = _bench.SocketPath + "2";
        LogList log = new();
        TeeServer server = TeeServer.Start(
            _backend, new TeeServerOptions { SocketPath = path, AllowedUsers = [4_000_000_000], LoggerFactory = log });

        Assert.That(
            () => _ = new OpTeeGuest(Memory(), new RemoteTeeBackend(path)),
            Throws.InstanceOf<TeeUnavailableException>());
        server.DisposeAsync().AsTask().Wait();
        Assert.That(log.Count("A connection is closed"), Is.EqualTo(1), () => string.Join('\n', log.Messages));
    }

    [Test]
    public async Task CreatePartition_DevicesAndRevision_AreTheTees()
    {
        _backend.Devices = [new TeeDevice(RemoteBench.Application, TeeDeviceDependency.Supplicant)];
        _backend.Revision = new OpTeeRevision(9, 8, 7);
        _bench = new RemoteBench(_backend);

        ITeePartition partition = new RemoteTeeBackend(_bench.SocketPath).CreatePartition(
            new TeeVirtualMachine("vm", TeeAccess.All, 2, _bench.ClientLog) { MappingGranule = 4096 });

        Assert.That(partition.Devices, Is.EqualTo(_backend.Devices));
        Assert.That(partition.Revision, Is.EqualTo(_backend.Revision));
        await partition.DisposeAsync();
    }

    [Test]
    public async Task CreatePartition_VmHasAnIdentity_TheTeeLearnsIt()
    {
        _bench = new RemoteBench(_backend);
        TeeVirtualMachine? created = null;
        _backend.OnCreate = virtualMachine => created = virtualMachine;
        OpTeeGuestOptions options = new() { Name = "vm2", Identity = Guid.NewGuid() };

        OpTeeGuest guest = new(Memory(), new RemoteTeeBackend(_bench.SocketPath), options);

        Assert.That((created!.Name, created.Identity), Is.EqualTo((options.Name, options.Identity)));
        await guest.DisposeAsync();
    }

    [Test]
    public void OpenSession_ServerAllowsOthersOnly_ItemNotFound()
    {
        _bench = new RemoteBench(_backend, options => options with { Access = TeeAccess.Only(Guid.NewGuid()) });

        GuestMessage answer = _bench.Driver.OpenSession(RemoteBench.Application);

        Assert.That(answer.ReturnCode, Is.EqualTo((uint)TeeReturnCode.ItemNotFound));
    }

    [Test]
    public void OpenSession_MoreThanTheServerAllows_OutOfMemory()
    {
        _bench = new RemoteBench(_backend, options => options with { MaximumSessions = 1 });
        uint first = _bench.Open();

        GuestMessage second = _bench.Driver.OpenSession(RemoteBench.Application);
        _ = _bench.Driver.CloseSession(first);
        GuestMessage third = _bench.Driver.OpenSession(RemoteBench.Application);

        Assert.That(
            (second.ReturnCode, third.ReturnCode), Is.EqualTo(((uint)TeeReturnCode.OutOfMemory, 0u)));
    }

    [Test]
    public void Start_AnotherServerListensThere_MessageSaysSo()
    {
        _bench = new RemoteBench(_backend);

        Assert.That(
            () => TeeServer.Start(_backend, _bench.Options),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("no other server may listen there"));
        Assert.That(_bench.Driver.OpenSession(RemoteBench.Application).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task Start_SocketWasLeftThere_IsReplaced()
    {
        _bench = new RemoteBench(_backend);
        string path = _bench.SocketPath + "2";
        using (Socket left = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            left.Bind(new UnixDomainSocketEndPoint(path));
            File.Move(path, path + "3");
        }

        File.Move(path + "3", path);

        await using TeeServer server = TeeServer.Start(_backend, _bench.Options with { SocketPath = path });

        Assert.That(File.Exists(path), Is.True);
    }

    private static MemfdGuestMemory Memory() =>
        MemfdGuestMemory.Create(new GuestRange(new GuestAddress(0x4000_0000), 1 << 20));
}
