using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>A VMM that sends what the protocol does not permit loses its connection, and no other VM notices.</summary>
internal sealed class HostileClientTests
{
    // Operation 0 for the first time.
    private const uint Operation = 0x1_0000;
    private const ushort OpenSession = 2;
    private const ushort Invoke = 3;
    private const ushort Close = 4;
    private const ushort Register = 5;
    private const ushort Unregister = 6;
    private const ushort AddFile = 7;
    private const ushort Cancel = 8;
    private const ushort Answer = 9;

    private ScriptedBackend _backend = null!;
    private RemoteBench _bench = null!;

    [SetUp]
    public void SetUp()
    {
        _backend = new ScriptedBackend { Execution = TeeExecution.Worker };
        _bench = new RemoteBench(_backend);
    }

    [TearDown]
    public async Task TearDown()
    {
        Assert.That(_bench.Driver.OpenSession(RemoteBench.Application).ReturnCode, Is.Zero, "the other VM");
        await _bench.DisposeAsync();
        await _backend.DisposeAsync();
    }

    private static IEnumerable<TestCaseData> Malformed()
    {
        byte[] none = new byte[128];
        yield return Case("a length below the header's", Edit(Frame(Cancel, RawClient.Words(1)), 0, 15));
        yield return Case("a length beyond the limit", Edit(Frame(Cancel, RawClient.Words(1)), 0, 0x7fff_ffff));
        yield return Case("a length with the highest bit", Edit(Frame(Cancel, RawClient.Words(1)), 0, 0xffff_ffff));
        yield return Case("a reserved field", Edit(Frame(Cancel, RawClient.Words(1)), 4, 0x1_0008));
        yield return Case(
            "another partition", partition => RawClient.Frame(Cancel, partition + 1, Operation, 1, 0, 0, 0));
        yield return Case("an unknown type", Frame(63, []));
        yield return Case("a second HELLO", Frame(1, new byte[64]));
        yield return Case("an operation beyond the limit",
            partition => RawClient.Frame(Cancel, partition, 0x1_0004, 1, 0, 0, 0));
        yield return Case("a body that is too short", Frame(OpenSession, RawClient.Words(0)));
        yield return Case("a body that is too long", Frame(Cancel, RawClient.Words(1, 2)));
        yield return Case("an answer to nothing", Frame(Answer, RawClient.Words(0, 0)));
        yield return Case("a session that is not open", Frame(Invoke, [.. RawClient.Words(0, 7, 0), .. none]));
        yield return Case("the closing of it", Frame(Close, RawClient.Words(0, 7)));
        yield return Case("session 0", Frame(Close, RawClient.Words(0, 0)));
        yield return Case("a buffer that is not registered", Frame(Unregister, RawClient.Words(3)));
        yield return Case("a buffer number beyond the limit", Frame(Register, RawClient.Words(4096, 0, 0, 0)));
        yield return Case("a buffer without a file", Frame(Register, RawClient.Words(0, 8, 0, 1, 0, 0, 0, 0, 8, 0)));
        yield return Case("a buffer with fewer pieces than its size", Frame(Register, RawClient.Words(0, 8, 0, 0)));
        yield return Case("more pieces than there are bytes", Frame(Register, RawClient.Words(0, 8, 0, 60_000)));
        yield return Case("more pieces than the limit", Frame(Register, RawClient.Words(0, 8, 0, 0xffff_ffff)));
        yield return Case("a file without its descriptor", Frame(AddFile, []));
        yield return Case("a kind of parameter that is none",
            Frame(OpenSession, [.. new byte[40], .. RawClient.Words(4), .. none[4..]]));
        yield return Case("the login of a trusted application",
            Frame(OpenSession, [.. RawClient.Words(0, 0xf000_0000), .. new byte[32], .. none]));
        yield return Case("a login that is none",
            Frame(OpenSession, [.. RawClient.Words(0, 3), .. new byte[32], .. none]));
        yield return Case("a reference to a buffer that is not registered",
            Frame(OpenSession, [.. new byte[40], .. RawClient.Words(5, 0), .. none[8..]]));
        yield return Case("a temporary reference that is not described",
            Frame(OpenSession, [.. new byte[40], .. RawClient.Words(5, 0xffff_fffe), .. none[8..]]));
        yield return Case("a temporary reference beyond its memory", Frame(
            OpenSession,
            [.. new byte[40], .. RawClient.Words(5, 0xffff_fffe, 0, 0, 1, 0), .. none[24..], .. new byte[12]]));
    }

    [TestCaseSource(nameof(Malformed))]
    public void Send_Malformed_ConnectionIsClosedWithOneLogLine(Func<uint, byte[]> frame)
    {
        using RawClient client = new(_bench.SocketPath);
        client.Greet();

        _ = client.Send(frame(client.Partition));

        Assert.That(client.IsClosedByServer(), Is.True);
        Waiting.Until(() => _bench.ServerLog.Count("VM raw is gone") == 1, "The end of the VM");
        Assert.That(
            _bench.ServerLog.Count("The VMM of VM raw has sent"),
            Is.EqualTo(1),
            () => string.Join('\n', _bench.ServerLog.Messages));
    }

    [TestCase(0u)]
    [TestCase(2u)]
    public void Send_HelloOfAnotherVersion_IsRefusedWithBothVersions(uint version)
    {
        using RawClient client = new(_bench.SocketPath);

        _ = client.Send(RawClient.Hello(version, 1, "raw"));

        (ushort type, byte[] body) = client.Receive()!.Value;
        Assert.That(type, Is.EqualTo(65));
        Assert.That(
            System.Text.Encoding.UTF8.GetString(body), Does.Contain($"version {version}").And.Contain("version 1"));
        Assert.That(client.IsClosedByServer(), Is.True);
    }

    [Test]
    public void Send_NoHello_ConnectionIsClosed()
    {
        using RawClient client = new(_bench.SocketPath);

        _ = client.Send(RawClient.Frame(OpenSession, 0, Operation, new byte[168]));

        Assert.That(client.IsClosedByServer(), Is.True);
    }

    [Test]
    public void Send_NameWithControlCharacters_LogHasNone()
    {
        using RawClient client = new(_bench.SocketPath);

        _ = client.Send(RawClient.Hello(1, 1, "a\nb\u001b[31m"));
        Assert.That(client.Receive()!.Value.Type, Is.EqualTo(64));

        Waiting.Until(() => _bench.ServerLog.Count("VM a?b?[31m is connected") == 1, "The log entry");
    }

    [Test]
    public void Send_ASecondOperationOfTheSameNumber_ConnectionIsClosedAndTheFirstEnds()
    {
        using SemaphoreSlim inside = new(0);
        bool isTerminated = false;
        _backend.OnOpen = async request =>
        {
            if (request.Application != Guid.Empty)
            {
                return TeeResult.Success;
            }

            _ = inside.Release();
            while (!request.IsTerminationRequested)
            {
                await Task.Delay(1);
            }

            isTerminated = true;
            return TeeResult.Success;
        };
        using RawClient client = new(_bench.SocketPath);
        client.Greet();
        byte[] opening = RawClient.Frame(OpenSession, client.Partition, Operation, new byte[168]);
        _ = client.Send(opening);
        inside.Wait();

        _ = client.Send(opening);

        Assert.That(client.IsClosedByServer(), Is.True);
        Waiting.Until(() => _bench.ServerLog.Count("VM raw is gone") == 1, "The end of the VM");
        Assert.That((isTerminated, _backend.OpenSessions), Is.EqualTo((true, 0)));
    }

    [TestCase("/dev/null", "no memfd")]
    [TestCase("/proc/self/exe", "no memfd")]
    public void Send_FileThatCouldShrink_ConnectionIsClosed(string path, string reason)
    {
        using SafeFileHandle file = File.OpenHandle(path);

        AssertFileIsRefused(file, reason);
    }

    [Test]
    public void Send_MemoryFileWithoutASeal_ConnectionIsClosed()
    {
        using SafeFileHandle file = Descriptor.Own(LibC.CreateMemoryFile("test", LibC.MFD_ALLOW_SEALING));
        RandomAccess.SetLength(file, 4096);

        AssertFileIsRefused(file, "no memfd with F_SEAL_SHRINK");
    }

    [Test]
    public void Send_EmptyMemoryFile_ConnectionIsClosed()
    {
        using SafeFileHandle file = Descriptor.Own(LibC.CreateMemoryFile("test", LibC.MFD_ALLOW_SEALING));
        _ = LibC.Control(file, LibC.F_ADD_SEALS, LibC.F_SEAL_SHRINK);

        AssertFileIsRefused(file, "an empty file");
    }

    [Test]
    public void Send_FilesWithoutEnd_ConnectionIsClosedAndNoneIsLeftOpen()
    {
        int before = Directory.GetFiles("/proc/self/fd").Length;
        using (RawClient client = new(_bench.SocketPath))
        {
            client.Greet();
            byte[] frame = RawClient.Frame(AddFile, client.Partition, 0);
            while (client.SendFile(frame, _bench.Memory.Regions[0].File!))
            {
            }
        }

        Waiting.Until(() => _bench.ServerLog.Count("VM raw is gone") == 1, "The end of the VM");
        Assert.That(_bench.ServerLog.Count("more than 256 files"), Is.EqualTo(1));
        Waiting.Until(() => Directory.GetFiles("/proc/self/fd").Length <= before, "The closing of the files");
    }

    [Test]
    public void Close_InTheMiddleOfAFrame_VmIsGone()
    {
        using (RawClient client = new(_bench.SocketPath))
        {
            client.Greet();
            _ = client.Send(RawClient.Frame(Cancel, client.Partition, Operation, 1, 0, 0, 0).AsSpan(0, 9));
        }

        Waiting.Until(() => _bench.ServerLog.Count("VM raw is gone") == 1, "The end of the VM");
    }

    private void AssertFileIsRefused(SafeFileHandle file, string reason)
    {
        using RawClient client = new(_bench.SocketPath);
        client.Greet();

        _ = client.SendFile(RawClient.Frame(AddFile, client.Partition, 0), file);

        Assert.That(client.IsClosedByServer(), Is.True);
        Waiting.Until(() => _bench.ServerLog.Count(reason) == 1, "The log entry");
    }

    private static TestCaseData Case(string name, Func<uint, byte[]> frame) =>
        new TestCaseData(frame).SetArgDisplayNames(name);

    private static Func<uint, byte[]> Frame(ushort type, byte[] body) =>
        partition => RawClient.Frame(type, partition, Operation, body);

    private static Func<uint, byte[]> Edit(Func<uint, byte[]> frame, int offset, uint word) => partition =>
    {
        byte[] bytes = frame(partition);
        BitConverter.TryWriteBytes(bytes.AsSpan(offset), word);
        return bytes;
    };
}
