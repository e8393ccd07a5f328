using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>Which applications a VM may reach, what its kernel is told of them, and who it says it is.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class AccessTests
{
    private const uint ItemNotFound = 0xffff_0008;
    private const uint ShortBuffer = 0xffff_0010;

    private static readonly Guid Enumeration = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");
    private static readonly Guid Rng = new("ab7a617c-b8e7-4d8f-8301-d09b61036b64");
    private static readonly Guid Ftpm = new("bc50d971-d4c9-42c4-82cb-343fb7f37896");
    private static readonly Guid Rpmb = new("a1cb06a7-3a0f-4f5c-8a27-6c0f1b0f9a11");

    [Test]
    public async Task OpenSession_ApplicationOutsideTheList_ItemNotFoundAndBackendNotAsked()
    {
        await using GuestBench bench = new(new OpTeeGuestOptions { Access = TeeAccess.Only(Rng) });
        bench.Backend.OnOpen = request =>
            request.Application == Rng ? new(TeeResult.Success) : throw new AssertionException("Not to be asked.");

        GuestMessage refused = bench.Driver.OpenSession(Ftpm);
        GuestMessage opened = bench.Driver.OpenSession(Rng);

        Assert.That((refused.ReturnCode, refused.ReturnOrigin, refused.Session),
            Is.EqualTo((ItemNotFound, (uint)TeeOrigin.Tee, 0u)));
        Assert.That(opened.ReturnCode, Is.Zero);
    }

    [Test]
    public async Task OpenSession_AccessNotGiven_IsTheBackendsDefault()
    {
        await using GuestBench bench = new(backend: new ScriptedBackend { DefaultAccess = TeeAccess.None });

        Assert.That(bench.Driver.OpenSession(Rng).ReturnCode, Is.EqualTo(ItemNotFound));
    }

    [Test]
    public async Task OpenSession_AccessGiven_GoesBeforeTheBackendsDefault()
    {
        TeeVirtualMachine? told = null;
        ScriptedBackend backend = new() { DefaultAccess = TeeAccess.None, OnCreate = machine => told = machine };
        await using GuestBench bench = new(new OpTeeGuestOptions { Name = "vm 7", Access = TeeAccess.All,
            Limits = new OpTeeLimits { Calls = 3 } }, backend);

        Assert.That(bench.Driver.OpenSession(Rng).ReturnCode, Is.Zero);
        Assert.That((told!.Name, told.Access, told.ConcurrentCalls), Is.EqualTo(("vm 7", TeeAccess.All, 3)));
    }

    [Test]
    public void Allows_EachKind_IsItsList()
    {
        Assert.That((TeeAccess.All.Allows(Rng), TeeAccess.None.Allows(Rng)), Is.EqualTo((true, false)));
        Assert.That((TeeAccess.Only(Rng).Allows(Rng), TeeAccess.Only(Rng).Allows(Ftpm), TeeAccess.Only().Allows(Rng)),
            Is.EqualTo((true, false, false)));
        Assert.That(() => TeeAccess.Only((IEnumerable<Guid>)null!), Throws.ArgumentNullException);
    }

    [Test]
    public async Task OpenSession_EnumerationThatTheBackendHasNot_ItemNotFound()
    {
        await using GuestBench bench = new(backend: new ScriptedBackend { Devices = null });

        Assert.That(bench.Driver.OpenSession(Enumeration).ReturnCode, Is.EqualTo(ItemNotFound));
    }

    /// <summary>As Linux does: first a NULL reference for the size, then a buffer.</summary>
    [TestCase(0u, true, 2)]
    [TestCase(0u, false, 1)]
    [TestCase(1u, true, 1)]
    [TestCase(2u, true, 0)]
    public async Task Enumeration_SizeQueryAndQuery_GivesTheAllowedDevices(uint function, bool allowsAll, int count)
    {
        await using GuestBench bench = Enumerating(allowsAll ? TeeAccess.All : TeeAccess.Only(Rng));
        GuestMessage opened = bench.Driver.OpenSession(Enumeration);
        ulong[] page = bench.Share(1, 1);

        GuestMessage size = bench.Driver.Invoke(opened.Session, function,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, 0, 0, 0));
        GuestMessage answer =
            bench.Driver.Invoke(opened.Session, function, GuestParameter.RegisteredOut(0, size.Parameters[0].B, 1));

        Assert.That((opened.ReturnCode, opened.ReturnOrigin), Is.EqualTo((0u, (uint)TeeOrigin.TrustedApplication)));
        Assert.That((size.ReturnCode, size.Parameters[0].B),
            Is.EqualTo((count == 0 ? 0u : ShortBuffer, (ulong)count * 16)));
        Assert.That((answer.ReturnCode, answer.Parameters[0].B), Is.EqualTo((0u, (ulong)count * 16)));
        Assert.That(Uuids(bench, page[0], count), Is.EqualTo(Expected(function, allowsAll)));
        Assert.That(bench.Backend.OpenSessions, Is.Zero, "The backend has no such application.");
    }

    [TestCase(3u, 0xau, 0xffff_0009u)]
    [TestCase(0u, 0x2u, 0xffff_0006u)]
    [TestCase(0u, 0x9u, 0xffff_0006u)]
    public async Task Enumeration_WrongCommandOrParameters_Refused(uint function, uint type, uint code)
    {
        await using GuestBench bench = Enumerating(TeeAccess.All);
        uint session = bench.Driver.OpenSession(Enumeration).Session;

        Assert.That(bench.Driver.Invoke(session, function, new GuestParameter(type)).ReturnCode, Is.EqualTo(code));
        Assert.That(bench.Driver.Invoke(session, function, new GuestParameter(type),
            GuestParameter.ValueIn(0, 0)).ReturnCode, Is.Not.Zero);
        Assert.That(bench.Driver.CloseSession(session).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task Enumeration_BackendOnWorkers_IsStillAnswered()
    {
        ScriptedBackend backend = GuestBench.OnWorkers();
        backend.Devices = [new TeeDevice(Rng)];
        backend.OnOpen = _ => throw new AssertionException("Not to be asked.");
        await using GuestBench bench = new(backend: backend);

        GuestMessage opened = bench.Driver.OpenSession(Enumeration);

        Assert.That((opened.ReturnCode, bench.Driver.CloseSession(opened.Session).ReturnCode), Is.EqualTo((0u, 0u)));
        Assert.That(await bench.DisposeGuestAsync(), Is.EqualTo(GuestBench.Nothing));
    }

    // The kernel and the public have no UUID, whatever stands there.
    [TestCase(0u, TeeLogin.Public, false)]
    [TestCase(1u, TeeLogin.User, true)]
    [TestCase(2u, TeeLogin.Group, true)]
    [TestCase(4u, TeeLogin.Application, true)]
    [TestCase(5u, TeeLogin.UserApplication, true)]
    [TestCase(6u, TeeLogin.GroupApplication, true)]
    [TestCase(0x8000_0000u, TeeLogin.Kernel, false)]
    public async Task OpenSession_Login_IsPassedOnAsTheGuestsClaim(uint login, TeeLogin expected, bool hasUuid)
    {
        await using GuestBench bench = new();
        Guid client = new("01020304-0506-0708-090a-0b0c0d0e0f10");
        (Guid, ClientIdentity) seen = default;
        bench.Backend.OnOpen = request =>
        {
            seen = (request.Application, request.Client);
            return new(TeeResult.Success);
        };

        _ = bench.Driver.Send(FakeDriver.Opening(Ftpm, client, login));

        Assert.That(seen, Is.EqualTo((Ftpm, new ClientIdentity(expected, hasUuid ? client : Guid.Empty))));
    }

    private static GuestBench Enumerating(TeeAccess access) => new(
        new OpTeeGuestOptions { Access = access },
        new ScriptedBackend { Devices =
            [new TeeDevice(Rng), new TeeDevice(Ftpm, TeeDeviceDependency.Supplicant), new TeeDevice(Rpmb)] });

    private static Guid[] Expected(uint function, bool allowsAll) => (function, allowsAll) switch
    {
        (0, true) => [Rng, Rpmb],
        (0, false) => [Rng],
        (1, true) => [Ftpm],
        _ => [],
    };

    private static IEnumerable<Guid> Uuids(GuestBench bench, ulong address, int count)
    {
        byte[] octets = new byte[count * 16];
        bench.Driver.Read<byte>(address, octets);
        return octets.Chunk(16).Select(chunk => new Guid(chunk, bigEndian: true));
    }
}
