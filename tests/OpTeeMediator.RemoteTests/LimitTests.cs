using System.Net.Sockets;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>VMs that take more than their server permits, and peers that keep each other waiting. Sessions and calls:
/// <see cref="WiringTests"/>.</summary>
internal sealed class LimitTests
{
    private const uint OutOfMemory = 0xffff_000c;

    private static readonly GuestRange Ram = new(RemoteBench.RamStart, RemoteBench.RamLength);

    [Test]
    public async Task VirtualMachines_OneTooMany_IsRefusedUntilAnotherIsGone()
    {
        await using RemoteBench bench =
            new(new ScriptedBackend(), options => options with { MaximumVirtualMachines = 2 });
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Ram);
        OpTeeGuest second = new(memory, new RemoteTeeBackend(bench.SocketPath));

        Assert.That(() => new OpTeeGuest(memory, new RemoteTeeBackend(bench.SocketPath)),
            Throws.InstanceOf<TeeUnavailableException>());
        Assert.That(bench.ServerLog.Count("2 VMs are connected, the most"), Is.EqualTo(1));

        await second.DisposeAsync();
        Waiting.Until(() => bench.Server.VirtualMachines == 1, "The end of the second VM");
        await new OpTeeGuest(memory, new RemoteTeeBackend(bench.SocketPath)).DisposeAsync();
        Assert.That(bench.Driver.OpenSession(RemoteBench.Application).ReturnCode, Is.Zero, "the other VM");
    }

    [Test]
    public async Task Buffers_OneTooMany_OutOfMemoryUntilAnotherIsGone()
    {
        await using RemoteBench bench = new(new ScriptedBackend(), options => options with { MaximumBuffers = 2 });
        FakeDriver driver = bench.Driver;
        ulong[] page = [driver.AllocatePage()];

        uint[] codes = [.. Enumerable.Range(1, 3).Select(cookie => driver.Register(page, 0, 0x1000, (ulong)cookie))
            .Select(answer => answer.ReturnCode)];
        _ = driver.Unregister(1);

        Assert.That(codes, Is.EqualTo(new uint[] { 0, 0, OutOfMemory }));
        Assert.That(driver.Register(page, 0, 0x1000, 3).ReturnCode, Is.Zero);
    }

    /// <summary>The guest decides of how many pieces its buffers consist: they must not end its VMM's
    /// connection.</summary>
    [Test]
    public async Task Pieces_TooManyInAllBuffers_OutOfMemoryUntilSomeAreGone()
    {
        await using RemoteBench bench = new(new ScriptedBackend(), options => options with { MaximumPieces = 256 });
        FakeDriver driver = bench.Driver;
        uint session = bench.Open();
        ulong[] pages = driver.AllocatePages(257, 2);

        uint oneBuffer = Register(257, 1);
        uint first = Register(200, 2);
        uint beyond = Register(57, 3);
        uint rest = Register(56, 4);
        _ = driver.Unregister(2);
        uint again = Register(200, 5);
        uint temporary = driver.Invoke(session, 0, GuestParameter.Temporary(
            OpTeeMessage.TypeTemporaryInput | OpTeeMessage.AttributeNonContiguous,
            driver.WritePageList(pages), 257 * OpTeeMessage.PageSize, 0)).ReturnCode;

        Assert.That((oneBuffer, first, beyond, rest, again, temporary),
            Is.EqualTo((OutOfMemory, 0u, OutOfMemory, 0u, 0u, OutOfMemory)));
        Assert.That(driver.Invoke(session, 0).ReturnCode, Is.Zero, "The connection and its session are there.");

        uint Register(int count, ulong cookie) => driver.Register(
            pages.AsSpan(0, count), 0, (ulong)count * OpTeeMessage.PageSize, cookie).ReturnCode;
    }

    [Test]
    public async Task Handshake_VmmSaysNothing_ConnectionIsClosed()
    {
        await using RemoteBench bench =
            new(new ScriptedBackend(), options => options with { HandshakeTimeout = TimeSpan.FromMilliseconds(200) });
        using RawClient client = new(bench.SocketPath);

        Assert.That(client.IsClosedByServer(), Is.True);
    }

    [Test]
    public async Task Handshake_VmmSendsByteByByte_ConnectionIsClosed()
    {
        // Each byte comes in time, all of them do not: that would take more than a minute.
        const int Bytes = 2000;
        await using RemoteBench bench =
            new(new ScriptedBackend(), options => options with { HandshakeTimeout = TimeSpan.FromMilliseconds(200) });
        using RawClient client = new(bench.SocketPath);
        byte[] hello = RawClient.Frame(1, 0, 0, new byte[Bytes]);

        int sent = 0;
        while (sent < Bytes && client.Send(hello.AsSpan(sent, 1)))
        {
            sent++;
            await Task.Delay(TimeSpan.FromMilliseconds(40));
        }

        Assert.That(sent, Is.LessThan(Bytes));
    }

    [Test]
    public void Handshake_ServerSaysNothing_VmIsNotCreated()
    {
        string folder = Directory.CreateTempSubdirectory("optee-silent").FullName;
        string path = Path.Combine(folder, "tee");
        using Socket silent = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        silent.Bind(new UnixDomainSocketEndPoint(path));
        silent.Listen();
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Ram);
        RemoteTeeOptions options = new()
        {
            SocketPath = path, HandshakeTimeout = TimeSpan.FromMilliseconds(200),
        };

        Assert.That(
            () => new OpTeeGuest(memory, new RemoteTeeBackend(options)), Throws.InstanceOf<TeeUnavailableException>());
        Directory.Delete(folder, recursive: true);
    }

    /// <summary>Both sides send through the same channel, with the time of their options.</summary>
    [Test]
    public void Send_PeerReadsNothing_ChannelIsClosed()
    {
        string folder = Directory.CreateTempSubdirectory("optee-deaf").FullName;
        UnixDomainSocketEndPoint place = new(Path.Combine(folder, "tee"));
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(place);
        listener.Listen();
        Socket sender = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        sender.Connect(place);
        using Socket deaf = listener.Accept();
        using FrameChannel channel = new(sender, takesDescriptors: false, TimeSpan.FromMilliseconds(200));
        byte[] frame = RawClient.Frame(64, 0, 0, new byte[4096]);

        int sent = 0;
        while (sent < 100_000 && channel.TrySend(frame))
        {
            sent++;
        }

        Assert.That(sent, Is.LessThan(100_000));
        Assert.That(channel.TrySend(frame), Is.False, "Half a frame cannot be taken back.");
        Directory.Delete(folder, recursive: true);
    }
}
