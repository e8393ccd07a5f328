using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>The server is killed: calls end, and a server that is started again serves new sessions.</summary>
internal sealed class DeathTests
{
    private const ulong RamStart = 0x4000_0000;
    private const ulong RamLength = 16 << 20;
    private const uint Dead = (uint)TeeReturnCode.TargetDead;

    private string _folder = "";
    private string _path = "";
    private ServerProcess _server = null!;
    private MemfdGuestMemory _memory = null!;
    private OpTeeGuest _guest = null!;
    private FakeDriver _driver = null!;
    private FakeDriver _otherDriver = null!;
    private LogList _log = null!;

    [SetUp]
    public void SetUp()
    {
        _folder = Directory.CreateTempSubdirectory("optee-remote").FullName;
        _path = Path.Combine(_folder, "tee");
        _server = new ServerProcess("server", _path);
        _memory = MemfdGuestMemory.Create(new GuestRange(new GuestAddress(RamStart), RamLength));
        _log = new LogList();
        _guest = new OpTeeGuest(
            _memory, new RemoteTeeBackend(_path), new OpTeeGuestOptions { LoggerFactory = _log, Name = "vm1" });
        _driver = new FakeDriver(_guest, _memory, new GuestRange(new GuestAddress(RamStart), RamLength / 2));
        _otherDriver = new FakeDriver(
            _guest, _memory, new GuestRange(new GuestAddress(RamStart + (RamLength / 2)), RamLength / 2));
        _driver.OnRpc = new RpcServices(_driver).Serve;
        _otherDriver.OnRpc = new RpcServices(_otherDriver).Serve;
    }

    [TearDown]
    public async Task TearDown()
    {
        await _guest.DisposeAsync();
        _memory.Dispose();
        _server.Dispose();
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public void Kill_InTheMiddleOfACall_TargetDeadAndTheNextServerServesNewSessions()
    {
        uint session = Open(_driver);
        SmcRegisters call = StartUntilAsked(session, CommandBackend.Hang);
        call = _driver.Step(call);

        _server.Kill();
        uint code = Finish(call);
        GuestMessage later = _driver.Invoke(session, CommandBackend.Add, GuestParameter.ValueInOut(1, 2));
        GuestMessage opening = _driver.OpenSession(RemoteBench.Application);
        Restart();
        uint next = Open(_driver);
        GuestMessage sum = _driver.Invoke(next, CommandBackend.Add, GuestParameter.ValueInOut(1, 2));
        GuestMessage old = _driver.Invoke(session, CommandBackend.Add, GuestParameter.ValueInOut(1, 2));
        GuestMessage closing = _driver.CloseSession(session);

        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(Dead));
            Assert.That(later.ReturnCode, Is.EqualTo(Dead));
            Assert.That(opening.ReturnCode, Is.EqualTo((uint)TeeReturnCode.Communication));
            Assert.That((sum.ReturnCode, sum.Parameters[0].A), Is.EqualTo((0u, 3ul)));
            Assert.That(old.ReturnCode, Is.EqualTo(Dead));
            Assert.That(closing.ReturnCode, Is.Zero);
            Assert.That(_log.Count("is gone"), Is.EqualTo(1), () => string.Join('\n', _log.Messages));
            Assert.That(_log.Count("again"), Is.GreaterThanOrEqualTo(1));
        });
    }

    [Test]
    public void Kill_WhileTheGuestIsAsked_TargetDeadWhenItHasAnswered()
    {
        uint session = Open(_driver);
        SmcRegisters call = StartUntilAsked(session, CommandBackend.Ask);

        _server.Kill();
        uint code = Finish(call);

        Assert.That(code, Is.EqualTo(Dead));
    }

    [Test]
    public void Kill_BufferIsRegistered_NextServerReadsIt()
    {
        ulong[] pages = _driver.AllocatePages(2, 2);
        _ = _driver.Register(pages, 0, 8192, 0x55);
        _driver.Write<byte>(pages[1], [1, 2, 3]);
        _server.Kill();
        Restart();
        uint session = Open(_driver);

        GuestMessage answer = _driver.Invoke(
            session, CommandBackend.Sum, GuestParameter.RegisteredIn(0, 8192, 0x55), GuestParameter.ValueOut());
        uint code = _driver.Unregister(0x55).ReturnCode;

        Assert.That((answer.ReturnCode, answer.Parameters[1].A, code), Is.EqualTo((0u, 6ul, 0u)));
    }

    [Test]
    public async Task DisposeAsync_ServerWasKilled_Ends()
    {
        _ = Open(_driver);
        _server.Kill();

        await _guest.DisposeAsync();

        Assert.That(_log.Count("still in flight"), Is.Zero);
    }

    [Test]
    public void Kill_AtRandomMoments_EveryCallEndsWithAnAnswerThatIsPermitted()
    {
        const int Kills = 10;
        int killed = 0;
        Task[] vcpus = [.. new[] { _driver, _otherDriver }.Select(driver => Task.Run(() => Call(driver)))];
        Random random = new(7);
        for (; killed < Kills; killed++)
        {
            Thread.Sleep(random.Next(20, 200));
            _server.Kill();
            Restart();
        }

        Assert.That(Task.WaitAll(vcpus, TimeSpan.FromSeconds(60)), Is.True, "a vCPU hangs");

        void Call(FakeDriver driver)
        {
            while (Volatile.Read(ref killed) < Kills)
            {
                GuestMessage opening = driver.OpenSession(RemoteBench.Application);
                Assert.That((TeeReturnCode)opening.ReturnCode, Is.AnyOf(
                    TeeReturnCode.Success, TeeReturnCode.Communication, TeeReturnCode.TargetDead));
                if (opening.ReturnCode != 0)
                {
                    continue;
                }

                for (int call = 0; call < 50; call++)
                {
                    GuestMessage answer = call % 5 == 0
                        ? driver.Invoke(opening.Session, CommandBackend.Ask, GuestParameter.ValueInOut(1, 2))
                        : driver.Invoke(opening.Session, CommandBackend.Add, GuestParameter.ValueInOut(1, 2));
                    Assert.That(
                        (TeeReturnCode)answer.ReturnCode, Is.AnyOf(TeeReturnCode.Success, TeeReturnCode.TargetDead));
                    if (answer.ReturnCode == 0 && call % 5 != 0)
                    {
                        Assert.That(answer.Parameters[0].A, Is.EqualTo(3));
                    }
                }

                _ = driver.CloseSession(opening.Session);
            }
        }
    }

    private void Restart()
    {
        _server.Dispose();
        _server = new ServerProcess("server", _path);
    }

    /// <summary>Opens a session, as soon as the VMM has reached its server.</summary>
    private static uint Open(FakeDriver driver)
    {
        GuestMessage? answer = null;
        Waiting.Until(
            () => (answer = driver.OpenSession(RemoteBench.Application)).ReturnCode == 0, "The opening of a session");
        return answer!.Session;
    }

    /// <summary>Begins a command, and waits until the guest is asked something.</summary>
    private SmcRegisters StartUntilAsked(uint session, uint command)
    {
        SmcRegisters call = _driver.Start(
            new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session, Function = command });
        while ((uint)call.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            call = _driver.Step(call);
        }

        return call;
    }

    private uint Finish(SmcRegisters call)
    {
        Assert.That(_driver.Finish(call), Is.EqualTo(OpTeeSmc.ReturnOk));
        return _driver.ReadMessage(_driver.MessagePage, 0).ReturnCode;
    }
}
