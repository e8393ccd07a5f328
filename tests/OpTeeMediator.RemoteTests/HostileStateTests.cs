using System.Net.Sockets;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.State;

namespace OpTeeMediator.RemoteTests;

/// <summary>A client or a server that sends what saving and restoring do not permit is refused, and costs little.
/// </summary>
internal sealed class HostileStateTests
{
    private const uint Operation = 0x1_0000;
    private const uint OtherOperation = 0x1_0001;
    private const ushort Answer = 9;
    private const ushort Reset = 10;
    private const ushort CanSave = 12;
    private const ushort Save = 13;
    private const ushort Restore = 14;
    private const ushort Commit = 15;
    private const ushort Abandon = 16;
    private const ushort NextState = 73;
    private const ushort StateRefused = 75;
    private const int LeastLimit = 64 << 10;

    private string _folder = "";
    private LogList _log = null!;

    [SetUp]
    public void SetUp()
    {
        _folder = Directory.CreateTempSubdirectory("optee-saved").FullName;
        _log = new LogList();
    }

    [TearDown]
    public void TearDown()
    {
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private string SocketPath => Path.Combine(_folder, "tee");

    private static IEnumerable<TestCaseData> Malformed()
    {
        yield return Case("a session that is not open", (Save, Operation, RawClient.Words(1, 7)));
        yield return Case("session 0", (CanSave, Operation, RawClient.Words(0)));
        yield return Case("more sessions than there are", (Save, Operation, RawClient.Words(0xffff_ffff)));
        yield return Case("fewer sessions than announced", (Save, Operation, RawClient.Words(3, 1)));
        yield return Case("a body that is too long", (Save, Operation, RawClient.Words(0, 0)));
        yield return Case("too many sessions to restore", (Restore, Operation, RawClient.Words(257, 8)));
        yield return Case("a length with the highest bit", (Restore, Operation, RawClient.Words(0, 0x8000_0000)));
        yield return Case("RESTORE after another operation",
            (Reset, Operation, []), (Restore, OtherOperation, RawClient.Words(0, 100)));
        yield return Case("an operation during RESTORE",
            (Restore, Operation, RawClient.Words(0, 100)), (Reset, OtherOperation, []));
        yield return Case("a piece that is too short",
            (Restore, Operation, RawClient.Words(0, 100)), (Answer, Operation, new byte[8 + 99]));
        yield return Case("a piece that is too long",
            (Restore, Operation, RawClient.Words(0, 100)), (Answer, Operation, new byte[8 + 101]));
        yield return Case("COMMIT of a VM that was not restored", (Commit, 0, []));
        yield return Case("ABANDON of a VM that was not restored", (Abandon, 0, []));
        yield return Case("ABANDON of a VM that runs", (Reset, Operation, []), (Abandon, 0, []));
        yield return Case("COMMIT during RESTORE",
            (Restore, Operation, RawClient.Words(0, 100)), (Commit, 0, []));
        yield return Case("ABANDON during RESTORE",
            (Restore, Operation, RawClient.Words(0, 100)), (Abandon, 0, []));
        yield return Case("COMMIT with a body", (Commit, 0, RawClient.Words(0)));
    }

    [TestCaseSource(nameof(Malformed))]
    public async Task Send_Malformed_ConnectionIsClosedWithOneLogLine((ushort, uint, byte[])[] frames)
    {
        await using TeeServer server = StartServer();
        using RawClient client = new(SocketPath);
        client.Greet();

        foreach ((ushort type, uint operation, byte[] body) in frames)
        {
            _ = client.Send(RawClient.Frame(type, client.Partition, operation, body));
            if (type is Restore or Reset && frames.Length > 1 && operation == Operation)
            {
                Assert.That(client.Receive()?.Type, Is.EqualTo(type == Restore ? NextState : 66));
            }
        }

        Assert.That(client.IsClosedByServer(), Is.True);
        Waiting.Until(() => _log.Count("VM raw is gone") == 1, "The end of the VM");
        Assert.That(_log.Count("The VMM of VM raw has sent"), Is.EqualTo(1), () => string.Join('\n', _log.Messages));
    }

    [Test]
    public async Task Send_RestoreOfMoreThanTheLimit_IsRefusedBeforeAnythingIsAskedFor()
    {
        await using TeeServer server = StartServer();
        using RawClient client = new(SocketPath);
        client.Greet();

        _ = client.Send(RawClient.Frame(Restore, client.Partition, Operation, RawClient.Words(0, 0x7fff_ffff)));

        Assert.That(client.Receive()?.Type, Is.EqualTo(StateRefused));
        _ = client.Send(RawClient.Frame(Reset, client.Partition, OtherOperation));
        Assert.That(client.Receive()?.Type, Is.EqualTo(66), "The connection stays.");
    }

    [TestCase("RemoteTeeOptions.MaximumState", FrameType.State, FrameFormat.StatePiece)]
    [TestCase("a piece of 0 bytes", FrameType.State, 0)]
    [TestCase("a piece of 16385 bytes", FrameType.State, FrameFormat.StatePiece + 1)]
    [TestCase("a message of 4097 bytes", FrameType.StateRefused, FrameFormat.TextLength + 1)]
    [TestCase("a message of type 67", FrameType.GuestCall, 8)]
    [TestCase("a message of type 74", FrameType.Restored, 4)]
    [TestCase("says: ", FrameType.StateRefused, 1)]
    [TestCase("has ended", FrameType.None, 0)]
    public void SaveAsync_ServerSendsAgainAndAgain_IsRefused(string message, FrameType type, int length)
    {
        using Socket listener = Listen(type, new byte[length]);
        ISavableTeePartition partition = Connect();

        Assert.That(
            async () => await partition.SaveAsync([]),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains(message));
    }

    [TestCase("a state with 1 sessions", FrameType.Restored, 1u, 5u)]
    [TestCase("a state with 4294967295 sessions", FrameType.Restored, 0xffff_ffffu)]
    [TestCase("a message of type 73", FrameType.NextState, new uint[0])]
    [TestCase("a message of type 72", FrameType.State, 1u)]
    [TestCase("a message of type 66", FrameType.Result, 0u)]
    public void RestoreAsync_ServerSendsAgainAndAgain_IsRefused(string message, FrameType type, params uint[] words)
    {
        using Socket listener = Listen(type, RawClient.Words(words));
        ISavableTeePartition partition = Connect();
        StateWriter state = new();
        state.WriteUInt32(FrameFormat.Magic);
        state.WriteBoolean(true);
        state.WriteBlock([1, 2, 3]);

        Assert.That(
            async () => await partition.RestoreAsync(state.Written.ToArray(), 0),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains(message));
    }

    private TeeServer StartServer() => TeeServer.Start(
        SavedApplication.CreateTee(), new TeeServerOptions { SocketPath = SocketPath, LoggerFactory = _log });

    private ISavableTeePartition Connect() => (ISavableTeePartition)new RemoteTeeBackend(new RemoteTeeOptions
    {
        SocketPath = SocketPath,
        MaximumState = LeastLimit,
        StateDeadline = TimeSpan.FromMinutes(1),
    }).CreatePartition(
        new TeeVirtualMachine("vm1", TeeAccess.All, 2, _log) { MappingGranule = Environment.SystemPageSize });

    // A server that sends the same, whatever it gets after HELLO; nothing and its end, if the type is none.
    private Socket Listen(FrameType type, byte[] body)
    {
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        listener.Listen(1);
        new Thread(() =>
        {
            using FrameChannel channel = new(listener.Accept(), takesDescriptors: true, TimeSpan.FromMinutes(1))
            {
                ReceiveTimeout = TimeSpan.FromMinutes(1),
            };
            FrameBuilder frame = new();
            _ = channel.TryReceive(out _, out _);
            new Welcome(1, new ProtocolLimits(4, 8, 8, 256, 1 << 16), null, null, true, true).Write(frame);
            _ = channel.TrySend(frame.Frame);
            channel.Partition = 1;
            channel.MaximumFrame = 1 << 16;
            while (channel.TryReceive(out FrameHeader header, out _) && type != FrameType.None)
            {
                frame.Begin(type, 1, header.Operation);
                frame.Write(body.AsSpan());
                _ = channel.TrySend(frame.Frame);
            }
        }) { IsBackground = true }.Start();
        return listener;
    }

    private static TestCaseData Case(string name, params (ushort, uint, byte[])[] frames) =>
        new TestCaseData([frames]).SetArgDisplayNames(name);
}
