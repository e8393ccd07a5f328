using System.Collections.Immutable;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Remote;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.State;
using OpTeeMediator.StorageTests;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.SoftwareTee;

namespace OpTeeMediator.FirmwareTpmTests;

/// <summary>TPM and trusted keys as a guest's driver reaches them: in the VMM's process, and in a TEE server.</summary>
[TestFixture(false)]
[TestFixture(true)]
internal sealed class WholeVmTests(bool isRemote) : ISmcHandler
{
    private const ulong Ram = 0x4000_0000;
    private const ulong Length = 16 << 20;
    private const ulong Page = 4096;
    private const ulong Cookie = 0x1234_5000;
    private const uint KernelLogin = 0x8000_0000;
    private const uint Seal = 1;
    private const uint Unseal = 2;

    private string _folder = "";
    private MemfdGuestMemory _memory = null!;
    private TeeServer? _server;
    private OpTeeGuest _guest = null!;
    private SoftwareTeeBackend _tee = null!;
    private OpTeeGuestOptions _options = null!;
    private FakeDriver _driver = null!;
    private ulong[] _pages = [];

    public ImmutableArray<SmcFunctionRange> Ranges => _guest.Ranges;

    private string SocketPath => Path.Combine(_folder, "tee");

    private ITeeBackend Backend => isRemote ? new RemoteTeeBackend(SocketPath) : _tee;

    [SetUp]
    public void Start()
    {
        _folder = Directory.CreateTempSubdirectory("tpm").FullName;
        SoftwareTeeOptions options = new SoftwareTeeOptions { KeySource = new FixedKey(1) }.AddTrustedKeys();
        _tee = new SoftwareTeeBackend(options.AddFirmwareTpm(new FirmwareTpmOptions(_folder)));
        RecordingLoggers loggers = new();
        _options = new OpTeeGuestOptions { Identity = TpmBench.Machine, LoggerFactory = loggers };
        _memory = MemfdGuestMemory.Create(new GuestRange(new GuestAddress(Ram), Length));
        if (isRemote)
        {
            _server = TeeServer.Start(_tee, new TeeServerOptions { SocketPath = SocketPath, LoggerFactory = loggers });
        }

        _guest = new OpTeeGuest(_memory, Backend, _options);
        _driver = new FakeDriver(this, _memory, new GuestRange(new GuestAddress(Ram), Length));
        Register();
    }

    [TearDown]
    public async Task StopAsync()
    {
        await _guest.DisposeAsync();
        if (_server is not null)
        {
            await _server.DisposeAsync();
            _server = null;
        }

        _memory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task Tpm_VmReset_PcrsAreZero()
    {
        uint session = _driver.OpenSession(FirmwareTpmExtensions.FirmwareTpmUuid).Session;
        _ = Execute(session, TpmCommands.Startup);
        _ = Execute(session, TpmCommands.ExtendPcr);
        byte[] extended = TpmCommands.DigestOf(Execute(session, TpmCommands.ReadPcr));

        await _guest.ResetAsync();
        Register();
        session = _driver.OpenSession(FirmwareTpmExtensions.FirmwareTpmUuid).Session;
        _ = Execute(session, TpmCommands.Startup);

        Assert.That(extended, Is.Not.EqualTo(new byte[32]));
        Assert.That(TpmCommands.DigestOf(Execute(session, TpmCommands.ReadPcr)), Is.EqualTo(new byte[32]));
    }

    [Test]
    public async Task SaveAndRestore_VmIsEncrypted_TpmGoesOn()
    {
        uint session = _driver.OpenSession(FirmwareTpmExtensions.FirmwareTpmUuid).Session;
        _ = Execute(session, TpmCommands.Startup);
        _ = Execute(session, TpmCommands.ExtendPcr);
        byte[] extended = TpmCommands.DigestOf(Execute(session, TpmCommands.ReadPcr));
        OpTeeStateOptions options = new() { Key = new byte[OpTeeStateOptions.KeyLength] };
        Assert.That(await _guest.PauseAsync());
        byte[] state = await _guest.SaveAsync(options);
        await _guest.DisposeAsync();
        _guest = await OpTeeGuest.RestoreAsync(_memory, Backend, _options, state, options);
        _guest.Resume();

        Assert.That(TpmCommands.DigestOf(Execute(session, TpmCommands.ReadPcr)), Is.EqualTo(extended));
    }

    [Test]
    public void TrustedKey_SealedAndUnsealed_IsTheKey()
    {
        GuestMessage opened =
            _driver.Send(FakeDriver.Opening(SoftwareTeeBackend.TrustedKeysUuid, default, KernelLogin));
        Assert.That(opened.ReturnCode, Is.Zero);
        byte[] key = [.. Enumerable.Range(1, 32).Select(value => (byte)value)];

        byte[] sealedKey = Invoke(opened.Session, Seal, key, 512, isInOut: false);

        Assert.That(sealedKey, Has.Length.EqualTo(32 + 49));
        Assert.That(Invoke(opened.Session, Unseal, sealedKey, 129, isInOut: false), Is.EqualTo(key));
    }

    /// <summary>The guest's calls reach the OP-TEE that the VM has now.</summary>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded) =>
        _guest.Handle(ref registers, loaded);

    private void Register()
    {
        _pages = _driver.AllocatePages(2, 1);
        Assert.That(_driver.Register(_pages, 0, 2 * Page, Cookie).ReturnCode, Is.Zero);
    }

    private byte[] Execute(uint session, byte[] command) => Invoke(session, 0, command, Page, isInOut: true);

    private byte[] Invoke(uint session, uint function, byte[] input, ulong capacity, bool isInOut)
    {
        Assert.That(_memory.TryWrite(new GuestAddress(_pages[0]), input));
        GuestMessage answer = _driver.Invoke(
            session,
            function,
            GuestParameter.RegisteredIn(0, (ulong)input.Length, Cookie),
            isInOut
                ? GuestParameter.RegisteredInOut(Page, capacity, Cookie)
                : GuestParameter.RegisteredOut(Page, capacity, Cookie));
        Assert.That(answer.ReturnCode, Is.Zero);
        byte[] output = new byte[answer.Parameters[1].B];
        Assert.That(_memory.TryRead(new GuestAddress(_pages[1]), output));
        return output;
    }
}
