using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>A backend that leaves everything to the defaults of its interfaces.</summary>
internal sealed class MinimalBackendTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    private readonly MemfdGuestMemory _ram =
        MemfdGuestMemory.Create(new GuestRange(GuestBench.RamStart, GuestBench.RamLength));

    private OpTeeGuest _guest = null!;
    private FakeDriver _driver = null!;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _guest = new OpTeeGuest(_ram, new AddingTee(), new OpTeeGuestOptions());
        _driver = new FakeDriver(_guest, _ram, new GuestRange(GuestBench.RamStart, GuestBench.RamLength));
        _session = _driver.OpenSession(GuestBench.Application).Session;
    }

    [TearDown]
    public async Task TearDown()
    {
        await _guest.DisposeAsync();
        Assert.That(_guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    [OneTimeTearDown]
    public void FreeMemory() => _ram.Dispose();

    [Test]
    public void Invoke_TwoNumbers_AreAdded()
    {
        GuestMessage answer = _driver.Invoke(_session, 0, GuestParameter.ValueInOut(40, 2));

        Assert.That((answer.ReturnCode, answer.Parameters[0].A), Is.EqualTo((0u, 42ul)));
    }

    [Test]
    public void Invoke_MemoryInsteadOfNumbers_StaysAsItIs()
    {
        ulong[] pages = _driver.AllocatePages(1, 1);
        _ = _driver.Register(pages, 0, 4096, Cookie);
        GuestParameter memory = GuestParameter.RegisteredInOut(8, 16, Cookie);

        GuestMessage answer = _driver.Invoke(_session, 0, memory);

        Assert.That((answer.ReturnCode, answer.Parameters[0]), Is.EqualTo((0u, memory)));
    }

    [Test]
    public async Task EveryOtherOperation_Defaults_Succeed()
    {
        ulong[] pages = _driver.AllocatePages(1, 1);
        uint[] codes =
        [
            _driver.Register(pages, 0, 4096, Cookie).ReturnCode,
            _driver.Unregister(Cookie).ReturnCode,
            _driver.CloseSession(_session).ReturnCode,
        ];

        await _guest.ResetAsync();

        Assert.That(codes, Has.All.Zero);
        Assert.That(_driver.OpenSession(GuestBench.Application).ReturnCode, Is.Zero, "After the reset.");
    }

    [Test]
    public void Defaults_NothingSaid_AreTheSafeOnes()
    {
        ITeePartition partition = new AddingTee();

        Assert.That(partition.Execution, Is.SameAs(TeeExecutionPolicy.Worker));
        Assert.That((partition.Devices, partition.Revision), Is.EqualTo(((object?)null, (OpTeeRevision?)null)));
        Assert.That(((ITeeBackend)new BareBackend()).DefaultAccess, Is.SameAs(TeeAccess.None));
    }

    private sealed class BareBackend : ITeeBackend
    {
        public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine) => new AddingTee();
    }
}
