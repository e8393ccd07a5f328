using System.Collections.Concurrent;
using System.Net.Sockets;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Remote;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.State;

namespace OpTeeMediator.RemoteTests;

/// <summary>A server tells applications of an end only if their VM does not go on elsewhere, however its connection
/// ends.</summary>
internal sealed class RestoreOutcomeTests
{
    private const uint Operation = 0x1_0000;
    private const ushort Answer = (ushort)FrameType.Answer;

    private static readonly string[] s_none = [];
    private static readonly string[] s_told = ["CloseSession", "Destroy"];

    private readonly ConcurrentQueue<string> _ends = new();
    private string _folder = "";
    private LogList _log = null!;
    private uint _count;

    /// <summary>What a client does before its connection breaks.</summary>
    public enum Step
    {
        /// <summary>Opens session 1.</summary>
        Open,

        Invoke,

        /// <summary>Closes session 1, as a teardown does.</summary>
        Close,

        Reset,

        Save,

        /// <summary>Takes the first piece of the state, and does not answer.</summary>
        SaveHalf,

        /// <summary>Has session 1 restored.</summary>
        Restore,

        /// <summary>Is asked for the first piece, and does not answer.</summary>
        RestoreHalf,

        RestoreRefused,

        Commit,

        Abandon,

        /// <summary>Waits for the answer.</summary>
        Destroy,
    }

    [SetUp]
    public void SetUp()
    {
        _ends.Clear();
        _folder = Directory.CreateTempSubdirectory("optee-outcome").FullName;
        _log = new LogList();
    }

    [TearDown]
    public void TearDown()
    {
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static RemoteTeeOptions Options(string path) =>
        new() { SocketPath = path, HandshakeTimeout = TimeSpan.FromMinutes(1) };

    private RemoteTeeOptions First => Options(Path.Combine(_folder, "first"));

    private RemoteTeeOptions Second => Options(Path.Combine(_folder, "second"));

    private static IEnumerable<TestCaseData> Ends()
    {
        yield return Case(false, Step.Restore);
        yield return Case(false, Step.RestoreHalf);
        yield return Case(false, Step.RestoreRefused);
        yield return Case(false, Step.Restore, Step.Abandon);
        yield return Case(false, Step.Restore, Step.Abandon, Step.Close, Step.Destroy);
        yield return Case(false, Step.Open, Step.Save);
        yield return Case(false, Step.Open, Step.Save, Step.Abandon);
        yield return Case(false, Step.Open, Step.Save, Step.Abandon, Step.Close, Step.Destroy);
        yield return Case(true, Step.Open);
        yield return Case(true, Step.Open, Step.SaveHalf);
        yield return Case(true, Step.Open, Step.Save, Step.Invoke);
        yield return Case(true, Step.Open, Step.Save, Step.Close);
        yield return Case(true, Step.Open, Step.Save, Step.Destroy);
        yield return Case(true, Step.Restore, Step.Commit);
        yield return Case(true, Step.Restore, Step.Commit, Step.Destroy);

        // A client that knows neither COMMIT nor ABANDON.
        yield return Case(true, Step.Restore, Step.Invoke);
        yield return Case(true, Step.Restore, Step.Close);
        yield return Case(true, Step.Restore, Step.Reset);
        yield return Case(true, Step.Restore, Step.Destroy);
    }

    [TestCaseSource(nameof(Ends))]
    public async Task Connection_Ends_ApplicationsAreToldUnlessTheVmGoesOnElsewhere(bool areTold, Step[] steps)
    {
        await using TeeServer server = Start(First, _ends);
        byte[] state = SaveSession(server);

        using (RawClient client = new(First.SocketPath))
        {
            client.Greet();
            Array.ForEach(steps, step => Perform(client, step, state));
        }

        Waiting.Until(() => server.VirtualMachines == 0, "The end of the VM");
        Assert.That(_ends, Is.EqualTo(areTold ? s_told : s_none));
    }

    [Test]
    public async Task AbandonAsync_VmThatWasSaved_ApplicationsAreNotToldOfAnEnd([Values] bool isAbandoned)
    {
        await using TeeServer server = Start(First, _ends);
        await using RemoteVm vm = new(First, "vm1");
        Assert.That(vm.Driver.OpenSession(SavedApplication.PerSession.Uuid).ReturnCode, Is.Zero);
        _ = await vm.SaveAsync();

        await (isAbandoned ? vm.Guest.AbandonAsync() : vm.Guest.DisposeAsync().AsTask());

        Waiting.Until(() => server.VirtualMachines == 0, "The end of the VM");
        Assert.That(_ends, Is.EqualTo(isAbandoned ? s_none : s_told));
    }

    [TestCase(Step.Open)]
    [TestCase(Step.Invoke)]
    [TestCase(Step.Reset)]
    [TestCase(Step.Restore)]
    [TestCase(Step.Commit)]
    [TestCase(Step.Abandon)]
    public async Task Send_AfterAbandon_ConnectionIsClosed(Step step)
    {
        await using TeeServer server = Start(First, _ends);
        byte[] state = SaveSession(server);
        using RawClient client = new(First.SocketPath);
        client.Greet();
        Perform(client, Step.Restore, state);
        Perform(client, Step.Abandon, state);

        Send(client, step, state.Length);

        Assert.That(client.IsClosedByServer(), Is.True);
        Waiting.Until(() => server.VirtualMachines == 0, "The end of the VM");
        Assert.That(_log.Count("The VMM of VM raw has sent"), Is.EqualTo(1));
        Assert.That(_ends, Is.Empty);
    }

    [Test]
    public async Task RestoreAsync_FailsOrIsNotResumed_ApplicationsAreNotToldOfAnEnd([Values] bool breaksOff)
    {
        await using TeeServer first = Start(First, []);
        await using TeeServer second = Start(Second, _ends);
        await using RemoteVm vm = new(First, "vm1");
        Assert.That(vm.Driver.OpenSession(SavedApplication.PerSession.Uuid).ReturnCode, Is.Zero);
        Assert.That(vm.Driver.OpenSession(SavedApplication.Single.Uuid).ReturnCode, Is.Zero);
        ulong page = vm.Driver.AllocatePage();
        Assert.That(vm.Driver.Register([page], 0, 4096, 0x77).ReturnCode, Is.Zero);
        byte[] state = await vm.SaveAsync();
        using MemfdGuestMemory small = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, page - 0x4000_0000));
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 16 << 20));

        Assert.That(() => RestoreAsync(small), Throws.TypeOf<OpTeeStateException>());
        OpTeeGuest restored = await RestoreAsync(memory);
        if (breaksOff)
        {
            // As if the VMM were killed.
            await second.DisposeAsync();
            restored.Resume();
        }

        await restored.DisposeAsync();
        Waiting.Until(() => second.VirtualMachines == 0, "The end of the restored VM");
        Assert.That(_ends, Is.Empty);
        Assert.That(_log.Count("goes on elsewhere"), Is.EqualTo(2));

        await second.DisposeAsync();
        await using TeeServer third = Start(Second, _ends);
        OpTeeGuest resumed = await RestoreAsync(memory);
        resumed.Resume();
        await resumed.DisposeAsync();
        Waiting.Until(() => third.VirtualMachines == 0, "The end of the resumed VM");
        Assert.That(_ends, Is.EquivalentTo((string[])[.. s_told, .. s_told]), "It has been here.");

        Task<OpTeeGuest> RestoreAsync(IGuestMemory ram) => OpTeeGuest.RestoreAsync(
            ram, new RemoteTeeBackend(Second), new OpTeeGuestOptions { Name = "vm1", LoggerFactory = _log }, state,
            new OpTeeStateOptions());
    }

    /// <summary>An older server closes the connection of a client that sends what it does not know.</summary>
    [Test]
    public async Task CommitAndAbandon_ServerIsOlder_AreNotSent([Values] bool isOlder)
    {
        BlockingCollection<FrameType> received = [];
        using Socket listener = Listen(isOlder, received);
        ISavableTeePartition partition = (ISavableTeePartition)new RemoteTeeBackend(First).CreatePartition(
            new TeeVirtualMachine("vm1", TeeAccess.All, 2, _log) { MappingGranule = Environment.SystemPageSize });
        partition.Abandon();
        StateWriter state = new();
        state.WriteUInt32(FrameFormat.Magic);
        state.WriteBoolean(true);
        state.WriteBlock([1, 2, 3]);
        _ = await partition.RestoreAsync(state.Written.ToArray(), 0);
        partition.Commit();
        await partition.ResetAsync();
        await partition.DisposeAsync();

        FrameType[] expected = isOlder
            ? [FrameType.Restore, FrameType.Reset, FrameType.Destroy]
            : [FrameType.Restore, FrameType.Commit, FrameType.Reset, FrameType.Destroy];
        Assert.That(received.GetConsumingEnumerable(), Is.EqualTo(expected));
    }

    private TeeServer Start(RemoteTeeOptions options, ConcurrentQueue<string> ends) => TeeServer.Start(
        SavedApplication.CreateTee(ends.Enqueue),
        new TeeServerOptions { SocketPath = options.SocketPath, LoggerFactory = _log });

    // What the server sends for a VM with one session.
    private byte[] SaveSession(TeeServer server)
    {
        (ushort Type, byte[] Body)? piece;
        using (RawClient client = new(First.SocketPath))
        {
            client.Greet();
            Perform(client, Step.Open, []);
            Send(client, Step.Save, 0);
            piece = client.Receive();
        }

        Waiting.Until(() => server.VirtualMachines == 0, "The end of the saved VM");
        _ends.Clear();
        Assert.That(piece?.Type, Is.EqualTo((ushort)FrameType.State));
        return piece!.Value.Body;
    }

    private void Perform(RawClient client, Step step, byte[] state)
    {
        Send(client, step, state.Length);
        switch (step)
        {
            case Step.SaveHalf:
                AssertReceives(client, FrameType.State);
                break;

            case Step.Save:
                AssertReceives(client, FrameType.State);
                _ = client.Send(RawClient.Frame(Answer, client.Partition, Operation + _count, new byte[8]));
                AssertReceives(client, FrameType.Result);
                break;

            case Step.RestoreHalf:
                AssertReceives(client, FrameType.NextState);
                break;

            case Step.Restore or Step.RestoreRefused:
                AssertReceives(client, FrameType.NextState);
                byte[] piece = [.. new byte[8], .. state];
                piece[^1] ^= step == Step.Restore ? (byte)0 : (byte)1;
                _ = client.Send(RawClient.Frame(Answer, client.Partition, Operation + _count, piece));
                AssertReceives(client, step == Step.Restore ? FrameType.Restored : FrameType.StateRefused);
                break;

            case Step.Commit or Step.Abandon:
                break;

            default:
                AssertReceives(client, FrameType.Result);
                break;
        }
    }

    private void Send(RawClient client, Step step, int stateLength)
    {
        _count += 0x1_0000;
        (FrameType type, byte[] body) = step switch
        {
            Step.Open => (FrameType.OpenSession,
                [.. new byte[8], .. SavedApplication.PerSession.Uuid.ToByteArray(bigEndian: true), .. new byte[144]]),
            Step.Invoke => (FrameType.InvokeCommand,
                [.. RawClient.Words(0, 1, SavedApplication.Add, 1), .. new byte[28], 2, .. new byte[95]]),
            Step.Close => (FrameType.CloseSession, RawClient.Words(2, 1)),
            Step.Save or Step.SaveHalf => (FrameType.Save, RawClient.Words(1, 1)),
            Step.Reset => (FrameType.Reset, []),
            Step.Commit => (FrameType.Commit, []),
            Step.Abandon => (FrameType.Abandon, []),
            Step.Destroy => (FrameType.Destroy, Array.Empty<byte>()),
            _ => (FrameType.Restore, RawClient.Words(1, (uint)stateLength)),
        };
        uint operation = type is FrameType.Commit or FrameType.Abandon ? 0 : Operation + _count;
        Assert.That(client.Send(RawClient.Frame((ushort)type, client.Partition, operation, body)));
    }

    private static void AssertReceives(RawClient client, FrameType type) =>
        Assert.That(client.Receive()?.Type, Is.EqualTo((ushort)type));

    private Socket Listen(bool isOlder, BlockingCollection<FrameType> received)
    {
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(First.SocketPath));
        listener.Listen(1);
        new Thread(() =>
        {
            using FrameChannel channel = new(listener.Accept(), takesDescriptors: true, TimeSpan.FromMinutes(1))
            {
                ReceiveTimeout = TimeSpan.FromMinutes(1),
            };
            FrameBuilder frame = new();
            _ = channel.TryReceive(out _, out _);
            new Welcome(1, new ProtocolLimits(4, 8, 8, 256, 1 << 16), null, null, true, !isOlder).Write(frame);
            _ = channel.TrySend(frame.Frame);
            channel.Partition = 1;
            channel.MaximumFrame = 1 << 16;
            while (channel.TryReceive(out FrameHeader header, out _))
            {
                received.Add(header.Type);
                frame.Begin(
                    header.Type == FrameType.Restore ? FrameType.Restored : FrameType.Result, 1, header.Operation);
                frame.Write(0u);
                if (header.Type is FrameType.Restore or FrameType.Reset or FrameType.Destroy)
                {
                    _ = channel.TrySend(frame.Frame);
                }
            }

            received.CompleteAdding();
        }) { IsBackground = true }.Start();
        return listener;
    }

    private static TestCaseData Case(bool areTold, params Step[] steps) =>
        new TestCaseData(areTold, steps).SetArgDisplayNames(string.Join(' ', steps));
}
