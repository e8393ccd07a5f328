using System.Net.Sockets;
using System.Text;
using KvmVmm.CommandLine;
using KvmVmm.Machine;
using KvmVmm.Migration;
using KvmVmm.Saving;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Samples;

/// <summary>KvmVmm's move of a VM to another process: the connection, broken at each message, and its ends.</summary>
[TestFixture]
internal sealed class MigrationTests
{
    private const string MachineSection = "KVM.";

    private static readonly GuestRange Ram = new(0x4000_0000, 1 << 20);
    private static readonly byte[] Secret = Encoding.ASCII.GetBytes("what the guest keeps to itself");
    private static readonly byte[] Tee = [1, 2, 3];
    private static readonly byte[] TeeDigest = [4, 5, 6];

    private string _folder = "";
    private string _key = "";
    private VmmOptions _options = null!;
    private MemfdGuestMemory _sourceMemory = null!;
    private TrackedGuestMemory _tracked = null!;
    private MemfdGuestMemory _targetMemory = null!;
    private DiskFile _sourceDisk = null!;
    private Relay _relay = null!;
    private byte[] _targetTeeDigest = TeeDigest;

    [SetUp]
    public void SetUp()
    {
        _folder = Directory.CreateTempSubdirectory("migration-").FullName;
        _key = WriteKey("key");
        File.WriteAllBytes(Path.Combine(_folder, "disk"), new byte[4096]);
        _options = new VmmOptions
        {
            Kernel = "", MemoryMebibytes = 1, StateKey = _key, ChecksPages = true,
            MigrateTo = Address("relay"), MigrateFrom = Address("target"),
        };
        _targetTeeDigest = TeeDigest;
        _sourceMemory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions(), Ram);
        _tracked = new TrackedGuestMemory(_sourceMemory);
        _targetMemory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions(), Ram);
        Assert.That(_sourceMemory.TryWrite(Ram.Start.Add(5000), Secret));

        // Written again while the VM moves; so each move has as many bytes.
        Assert.That(_sourceMemory.TryWrite(Ram.Start.Add(9000), [9]));
        Assert.That(_sourceMemory.TryWrite(Ram.Start.Add(20000), [9]));
        _sourceDisk = DiskFile.Open(Path.Combine(_folder, "disk"));
        _relay = new Relay(Path.Combine(_folder, "relay"), Path.Combine(_folder, "target"));
    }

    [TearDown]
    public void TearDown()
    {
        _relay.Dispose();
        _sourceDisk.Dispose();
        _targetMemory.Dispose();
        _sourceMemory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task Move_BothSidesWork_TargetHasAllPagesStateAndDisk()
    {
        (Exception? source, Exception? target) = await MoveAsync();

        Assert.That((source, target), Is.EqualTo(((Exception?)null, (Exception?)null)));
        foreach ((ulong offset, byte[] bytes) in ((ulong, byte[])[])[(5000, Secret), (9000, [1]), (20000, [2])])
        {
            byte[] found = new byte[bytes.Length];
            Assert.That(_targetMemory.TryRead(Ram.Start.Add(offset), found));
            Assert.That(found, Is.EqualTo(bytes), $"at {offset}");
        }
    }

    [Test]
    public async Task Move_WithAndWithoutKey_OnlyWithKeyTheConnectionIsUnreadable()
    {
        Assert.That(await MoveAsync(), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That(_relay.ToTarget.AsSpan().IndexOf(Secret), Is.Negative);
        _relay.Reset();
        _sourceDisk.Lock();
        _targetMemory.Dispose();
        _targetMemory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions(), Ram);
        _options = _options with { StateKey = null };

        Assert.That(await MoveAsync(), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That(_relay.ToTarget.AsSpan().IndexOf(Secret), Is.Positive);
    }

    [Test]
    public async Task Move_ConnectionBreaksAtAnyMessage_NotBothRunAndSourceKeepsWhatItHasNotGivenUp()
    {
        Assert.That(await MoveAsync(), Is.EqualTo(((Exception?)null, (Exception?)null)));
        int toTarget = _relay.ToTarget.Length;
        int toSource = _relay.ToSource.Length;
        List<(int ToTarget, int ToSource)> cuts = [];
        foreach (int cut in (int[])
            [0, 20, 48, 100, 112, 150, 300, toTarget / 2, toTarget - 21, toTarget - 20, toTarget - 1])
        {
            cuts.Add((cut, int.MaxValue));
        }

        foreach (int cut in (int[])[0, 20, 48, 100, 112, 120, toSource - 30, toSource - 1])
        {
            cuts.Add((int.MaxValue, cut));
        }

        foreach ((int ToTarget, int ToSource) cut in cuts)
        {
            _relay.Reset(cut.ToTarget, cut.ToSource);
            _sourceDisk.Lock();
            _targetMemory.Dispose();
            _targetMemory = MemfdGuestMemory.Create(new MemfdGuestMemoryOptions(), Ram);

            (Exception? source, Exception? target) = await MoveAsync();

            // Only the end of the stream, its last 20 bytes, can be lost after the source has sent it.
            bool isGivenUp = cut.ToTarget == toTarget - 1;
            Assert.That(target, Is.Not.Null, $"the target runs: {cut}");
            Assert.That(source, isGivenUp ? Is.Null : Is.InstanceOf<MigrationException>(), $"{cut}");
            Assert.That(IsDiskLocked(), Is.EqualTo(!isGivenUp), $"the source's disk: {cut}");
        }
    }

    [Test]
    public async Task Finish_TargetTakesNothingMoreAfterItsAnswer_SourceKeepsTheVm()
    {
        using Socket listener = Listen("deaf");
        _options = _options with { MigrateTo = Address("deaf") };
        Task target = Task.Run(() =>
        {
            using Socket socket = listener.Accept();
            using MigrationConnection connection =
                MigrationConnection.Open(socket, StateFile.Options(_options), CancellationToken.None);
            ReadAll(connection);
            socket.Shutdown(SocketShutdown.Receive);
            connection.Agree(TimeSpan.Zero);
            _ = socket.Poll(TimeSpan.FromSeconds(30), SelectMode.SelectRead);
        });

        Exception? source = await RunSourceAsync();

        Assert.That(source, Is.InstanceOf<MigrationException>());
        Assert.That(IsDiskLocked());
        await target;
    }

    [Test]
    public async Task Move_TargetIsAnotherMachine_IsRefusedWithItsReason()
    {
        foreach ((VmmOptions options, string sourceSays, string targetSays) in ((VmmOptions, string, string)[])
            [
                (_options with { MemoryMebibytes = 2 }, "refuses: The saved machine has", "by the options"),
                (_options with { Cpus = 2 }, "refuses: The saved machine has", "by the options"),
                (_options with { VmId = Guid.NewGuid() }, "expected that of VM", "expected that of VM"),
                (_options with { StateKey = null }, "not encrypted", "no key is given"),
                (_options with { StateKey = WriteKey("other") }, "its key is another one", "its key is another one"),
            ])
        {
            _relay.Reset();

            (Exception? source, Exception? target) = await MoveAsync(options);

            Assert.That(source?.Message, Does.Contain(sourceSays));
            Assert.That(target?.Message, Does.Contain(targetSays));
            Assert.That(IsDiskLocked());
        }
    }

    [Test]
    public async Task Move_APageDiffersInTheEnd_IsRefused()
    {
        (Exception? source, Exception? target) = await MoveAsync(
            beforeMachine: () => Assert.That(_sourceMemory.TryWrite(Ram.Start.Add(40960), [7])));

        Assert.That(source?.Message, Does.Contain("refuses: 1 of 256 pages").And.Contain("0x4000a000"));
        Assert.That(target?.Message, Does.Contain("1 of 256 pages"));
    }

    [Test]
    public async Task Move_MemoryOfItsTeeDiffersInTheEnd_IsRefused()
    {
        _targetTeeDigest = [4, 5, 7];

        (Exception? source, Exception? target) = await MoveAsync();

        Assert.That(source?.Message, Does.Contain("refuses: The memory of its OP-TEE"));
        Assert.That(target?.Message, Does.Contain("The memory of its OP-TEE"));
    }

    [Test]
    public async Task Move_RecordedStreamIsSentAgain_IsRefused()
    {
        Assert.That(await MoveAsync(), Is.EqualTo(((Exception?)null, (Exception?)null)));
        byte[] recorded = _relay.ToTarget;
        Task<Exception?> target = RunTargetAsync(_options);
        using Socket socket = await ConnectAsync(Path.Combine(_folder, "target"));
        _ = socket.Send(recorded);
        socket.Shutdown(SocketShutdown.Send);

        Assert.That((await target)?.Message, Does.Contain("was changed"));
    }

    [Test]
    public async Task Move_GuestEnds_SourceWaitsForASilentTargetNoLonger([Values] bool isConnected)
    {
        using Socket listener = Listen("silent");
        _options = _options with { MigrateTo = Address("silent") };
        using CancellationTokenSource guestEnds = new();
        using ManualResetEventSlim mayEnd = new(false);
        Task target = Task.Run(() =>
        {
            using Socket socket = listener.Accept();
            using MigrationConnection? connection = isConnected
                ? MigrationConnection.Open(socket, StateFile.Options(_options), CancellationToken.None) : null;
            mayEnd.Wait();
        });
        Task source = Task.Run(() =>
        {
            using MigrationSource source = MigrationSource.Connect(_options, _tracked, () => null, guestEnds.Token);
            source.CopyWhileRunning(_sourceDisk);
        });

        await Task.WhenAny(source, Task.Delay(200));
        Assert.That(source.IsCompleted, Is.False, "it waits");
        await guestEnds.CancelAsync();

        Assert.That(() => source.WaitAsync(TimeSpan.FromSeconds(30)), Throws.TypeOf<MigrationException>());
        mayEnd.Set();
        await target;
    }

    // It says that it does not want the rest, but not why.
    [Test]
    public async Task Finish_TargetBeginsAnAnswerAndDoesNotEndIt_SourceDoesNotWaitForTheRest()
    {
        using Socket listener = Listen("stalling");
        _options = _options with { MigrateTo = Address("stalling") };
        using ManualResetEventSlim mayEnd = new(false);
        Task target = Task.Run(() =>
        {
            using Socket socket = listener.Accept();
            using MigrationConnection connection =
                MigrationConnection.Open(socket, StateFile.Options(_options), CancellationToken.None);
            _ = ReadToEnd(connection.Reader.OpenSection("VMM."));
            connection.Agree(TimeSpan.Zero);
            _ = socket.Send([1]);
            mayEnd.Wait();
        });

        Task<Exception?> source = RunSourceAsync();

        Assert.That(
            (await source.WaitAsync(TimeSpan.FromSeconds(30)))?.Message, Does.Contain("does not want the rest"));
        mayEnd.Set();
        await target;
    }

    [Test]
    public async Task TryAcceptAsync_SourceSaysNothingAndVmmIsStopped_Ends()
    {
        using CancellationTokenSource stop = new();
        Task<MigrationTarget?> target = MigrationTarget.TryAcceptAsync(_options, stop.Token);
        using Socket source = await ConnectAsync(Path.Combine(_folder, "target"));
        await Task.WhenAny(target, Task.Delay(200));
        Assert.That(target.IsCompleted, Is.False, "it waits");

        await stop.CancelAsync();

        Assert.That(() => target.WaitAsync(TimeSpan.FromSeconds(30)), Throws.TypeOf<MigrationException>());
    }

    // While the source waits for its TEE, a round says that it is there.
    [Test]
    public async Task CopyAgain_AfterTheRounds_IsARoundMore()
    {
        Task<Exception?> arriving = RunTargetAsync(_options);

        (int rounds, _, _) = await Task.Run(() =>
        {
            using MigrationSource source =
                MigrationSource.Connect(_options, _tracked, () => null, CancellationToken.None);
            source.CopyWhileRunning(_sourceDisk);
            source.CopyAgain();
            source.CopyAgain();
            return source.Finish(
                (tee, _) => tee.Write(Tee), WriteMachine, () => TeeDigest, _sourceDisk, new SaveTimes());
        });

        Assert.That(await arriving, Is.Null);
        Assert.That(rounds, Is.EqualTo(4), "one, two more, and the last one");

        static void WriteMachine(VmStateWriter state)
        {
            using Stream section = state.BeginSection(MachineSection);
            section.Write(Tee);
        }
    }

    // Without a key anybody can write it.
    [Test]
    public void Check_DescriptionControlsATerminal_IsShownWithoutThat()
    {
        using MemoryStream file = new();
        using (VmStateWriter writer = new(file, new VmStateOptions()))
        {
            using (Stream section = writer.BeginSection("VMM."))
            {
                section.Write("a\u001b]0;b\u009b1m\r\nc\u202ed\u2028e é"u8);
            }

            writer.Complete();
        }

        file.Position = 0;
        using VmStateReader reader = new(file, new VmStateOptions());

        Assert.That(
            () => MachineDescription.Check(reader, _options, _sourceDisk),
            Throws.TypeOf<InvalidDataException>().With.Message.Contains("has a ]0;b 1m  c d e é; by the options"));
    }

    [Test]
    public void OpenSection_NameControlsATerminal_IsShownWithoutThat()
    {
        using MemoryStream file = new();
        using (VmStateWriter writer = new(file, new VmStateOptions()))
        {
            writer.BeginSection("\u001bc\u0007~").Dispose();
            writer.Complete();
        }

        file.Position = 0;
        using VmStateReader reader = new(file, new VmStateOptions());

        Assert.That(
            () => reader.OpenSection("VMM."),
            Throws.TypeOf<InvalidDataException>().With.Message.Contains("the section '?c?~'; expected 'VMM.'"));
    }

    [Test]
    public void CreateForOwnerOnly_OthersCouldReadWhatWasThere_TheyCannotReadIt()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Ignore("There files have no mode.");
            return;
        }

        string path = Path.Combine(_folder, "state.unfinished");
        File.WriteAllText(path, "something else");
        const UnixFileMode ForAll = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.OtherRead;
        File.SetUnixFileMode(path, ForAll);

        using (FileStream file = StateFile.CreateForOwnerOnly(path))
        {
            Assert.That(file.Length, Is.Zero);
        }

        Assert.That(File.GetUnixFileMode(path), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
    }

    [Test]
    public async Task Connect_PeerIsSomethingElse_Fails()
    {
        using Socket listener = Listen("other");
        _options = _options with { MigrateTo = Address("other") };
        foreach (bool echoes in (bool[])[false, true])
        {
            Task target = Task.Run(() =>
            {
                using Socket socket = listener.Accept();
                byte[] hello = new byte[48];
                int length = socket.Receive(hello);
                ReadOnlySpan<byte> other = "HTTP/1.1 400 Bad Request, as this is no VMM at all\r\n"u8;
                _ = socket.Send(echoes ? hello.AsSpan(0, length) : other);
            });

            Exception? source = await RunSourceAsync();

            Assert.That(source, Is.InstanceOf<MigrationException>());
            Assert.That(source!.Message, Does.Contain(echoes ? "repeats" : "no VMM"));
            await target;
        }

        Exception? nobody = await RunSourceAsync(_options with { MigrateTo = Address("nobody") });
        Assert.That(nobody?.Message, Does.Contain("nobody can be reached"));
    }

    [Test]
    public void TryParse_Addresses_AreThoseOfSocketsAndPorts()
    {
        Assert.That(MigrationAddress.TryParse("/run/x")!.IsNetwork, Is.False);
        Assert.That(MigrationAddress.TryParse("127.0.0.1:700")!.IsNetwork);
        Assert.That(MigrationAddress.TryParse("[::1]:700")!.IsNetwork);
        foreach (string text in (string[])
            ["", "run", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "/" + new string('x', 200)])
        {
            Assert.That(MigrationAddress.TryParse(text), Is.Null, text);
        }
    }

    private MigrationAddress Address(string name) => MigrationAddress.TryParse(Path.Combine(_folder, name))!;

    private string WriteKey(string name)
    {
        string path = Path.Combine(_folder, name);
        byte[] key = new byte[32];
        Random.Shared.NextBytes(key);
        File.WriteAllBytes(path, key);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        return path;
    }

    private Socket Listen(string name)
    {
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(_folder, name)));
        listener.Listen(1);
        return listener;
    }

    private bool IsDiskLocked()
    {
        try
        {
            DiskFile.Open(Path.Combine(_folder, "disk")).Dispose();
            return false;
        }
        catch (BootException)
        {
            return true;
        }
    }

    private async Task<(Exception? Source, Exception? Target)> MoveAsync(
        VmmOptions? target = null, Action? beforeMachine = null)
    {
        Task<Exception?> arriving = RunTargetAsync(target ?? _options);
        Exception? source = await RunSourceAsync(beforeMachine: beforeMachine);
        return (source, await arriving);
    }

    // As the VMM does it, but for vCPUs and TEE.
    private Task<Exception?> RunSourceAsync(VmmOptions? options = null, Action? beforeMachine = null) => Task.Run(() =>
    {
        try
        {
            using MigrationSource source = MigrationSource.Connect(
                options ?? _options, _tracked, () => null, CancellationToken.None);
            source.CopyWhileRunning(_sourceDisk);
            Assert.That(_tracked.TryWrite(Ram.Start.Add(9000), [1]));
            source.Finish(
                (tee, _) =>
                {
                    Assert.That(_tracked.TryWrite(Ram.Start.Add(20000), [2]));
                    tee.Write(Tee);
                },
                state =>
                {
                    using Stream section = state.BeginSection(MachineSection);
                    section.Write(Tee);
                    beforeMachine?.Invoke();
                },
                () => TeeDigest,
                _sourceDisk,
                new SaveTimes());
            return null;
        }
        catch (Exception failure)
        {
            return failure;
        }
    });

    private Task<Exception?> RunTargetAsync(VmmOptions options) => Task.Run(async () =>
    {
        MigrationTarget? target = null;
        try
        {
            target = await MigrationTarget.TryAcceptAsync(options, CancellationToken.None);
            using DiskFile disk = DiskFile.Open(Path.Combine(_folder, "disk"), isLocked: false);
            _ = target!.Receive(options, _targetMemory, disk, arrival: null, out Stream tee);
            Assert.That(ReadToEnd(tee), Is.EqualTo(Tee));
            target.Finish(
                _targetMemory,
                state => Assert.That(ReadToEnd(state.OpenSection(MachineSection)), Is.EqualTo(Tee)),
                TimeSpan.Zero,
                () => _targetTeeDigest,
                NullLogger.Instance);
            disk.Lock();
            return null;
        }
        catch (Exception failure)
        {
            target?.Refuse(failure.Message);
            return failure;
        }
        finally
        {
            target?.Dispose();
        }
    });

    private static byte[] ReadToEnd(Stream stream)
    {
        using MemoryStream content = new();
        stream.CopyTo(content);
        return content.ToArray();
    }

    // What the source sends before the last answer.
    private static void ReadAll(MigrationConnection connection)
    {
        VmStateReader state = connection.Reader;
        _ = ReadToEnd(state.OpenSection("VMM."));
        connection.Agree(TimeSpan.Zero);
        _ = ReadToEnd(state.OpenSection(StateFile.MemorySection));
        while (ReadToEnd(state.OpenSection(MigrationSource.NextSection))[0] == 0)
        {
            _ = ReadToEnd(state.OpenSection(MigrationSource.CopySection));
            _ = ReadToEnd(state.OpenSection(MigrationSource.PagesSection));
        }

        foreach (string name in (string[])
            [StateFile.TeeSection, MigrationSource.PagesSection, MachineSection, MigrationSource.CheckSection])
        {
            _ = ReadToEnd(state.OpenSection(name));
        }
    }

    internal static async Task<Socket> ConnectAsync(string path)
    {
        while (true)
        {
            Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path));
                return socket;
            }
            catch (SocketException)
            {
                // Not there yet, or about to be.
                socket.Dispose();
                await Task.Delay(10);
            }
        }
    }

    /// <summary>Passes bytes on between source and target, and cuts the connection where it is told to.</summary>
    private sealed class Relay : IDisposable
    {
        private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        private readonly string _target;
        private readonly Task _serving;
        private MemoryStream _toTarget = new();
        private MemoryStream _toSource = new();
        private int _mostToTarget = int.MaxValue;
        private int _mostToSource = int.MaxValue;

        public Relay(string path, string target)
        {
            _target = target;
            _listener.Bind(new UnixDomainSocketEndPoint(path));
            _listener.Listen(1);
            _serving = Task.Run(ServeAsync);
        }

        public byte[] ToTarget => _toTarget.ToArray();

        public byte[] ToSource => _toSource.ToArray();

        public void Reset(int mostToTarget = int.MaxValue, int mostToSource = int.MaxValue)
        {
            (_toTarget, _toSource) = (new MemoryStream(), new MemoryStream());
            (_mostToTarget, _mostToSource) = (mostToTarget, mostToSource);
        }

        public void Dispose()
        {
            _listener.Dispose();
            _serving.GetAwaiter().GetResult();
        }

        private async Task ServeAsync()
        {
            try
            {
                while (true)
                {
                    using Socket source = await _listener.AcceptAsync();
                    using Socket target = await ConnectAsync(_target);
                    Task forth = PassAsync(source, target, _toTarget, _mostToTarget);
                    Task back = PassAsync(target, source, _toSource, _mostToSource);
                    await Task.WhenAll(forth, back);
                }
            }
            catch (Exception end) when (end is SocketException or ObjectDisposedException)
            {
                // The test has ended.
            }
        }

        private static async Task PassAsync(Socket from, Socket to, MemoryStream record, int most)
        {
            byte[] buffer = new byte[64 << 10];
            try
            {
                while (record.Length < most)
                {
                    int length = await from.ReceiveAsync(
                        buffer.AsMemory(0, (int)long.Min(buffer.Length, most - record.Length)));
                    if (length == 0)
                    {
                        to.Shutdown(SocketShutdown.Send);
                        return;
                    }

                    record.Write(buffer, 0, length);
                    for (int sent = 0; sent < length;)
                    {
                        sent += await to.SendAsync(buffer.AsMemory(sent, length - sent));
                    }
                }
            }
            catch (Exception end) when (end is SocketException or ObjectDisposedException)
            {
                // Cut by the other direction.
            }

            // Closed, not shut down: both sides find that nobody takes or sends anything more.
            from.Dispose();
            to.Dispose();
        }
    }
}
