using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>The steady state allocates nothing. The counter is that of the thread, so other tests
/// do not disturb it.</summary>
internal sealed class AllocationTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const ulong OtherCookie = 0xffff_0000_0938_5b40;

    private MemfdGuestMemory _memory = null!;
    private TaskCompletionSource<TeeResult>? _end;
    private OpTeeGuest _guest = null!;
    private FakeDriver _driver = null!;
    private uint _session;
    private ulong _page;

    [SetUp]
    public void CreateGuest()
    {
        _memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 32 << 20));
        _end = null;
        ScriptedBackend backend = new() { OnInvoke = _ => _end is null ? new(TeeResult.Success) : new(_end.Task) };
        _guest = new OpTeeGuest(_memory, backend, new OpTeeGuestOptions { Limits = new OpTeeLimits { Calls = 1 } });
        _driver = new FakeDriver(_guest, _memory, new GuestRange(0x4000_0000, 32 << 20));
        _session = _driver.OpenSession(GuestBench.Application).Session;
        _page = _driver.MessagePage;
    }

    [TearDown]
    public async Task DisposeOfGuest()
    {
        await _guest.DisposeAsync();
        _memory.Dispose();
    }

    [TestCase(OpTeeSmc.CallsUid)]
    [TestCase(OpTeeSmc.GetOsRevision)]
    [TestCase(OpTeeSmc.GetThreadCount)]
    [TestCase(OpTeeSmc.DisableShmCache)]
    [TestCase(0xb200_0055u)]
    [TestCase(0x3200_0077u)]
    [TestCase(OpTeeSmc.ReturnFromRpc)]
    public void Handle_CallsWithoutAMessage_AllocatesNothing(uint functionId) => AssertNoAllocation(functionId);

    [TestCase(OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.CallWithRpcArgument)]
    public void Handle_InvokeWithValues_AllocatesNothing(uint functionId)
    {
        Write(GuestBench.Invocation(_session, 0, [.. Enumerable.Repeat(GuestParameter.ValueInOut(1, 2), 4)]));

        AssertNoAllocation(functionId);
    }

    [Test]
    public void Handle_InvokeWithRegisteredMemory_AllocatesNothing()
    {
        Register(Cookie, 3);
        Write(GuestBench.Invocation(_session, 0,
            [.. Enumerable.Repeat(GuestParameter.RegisteredInOut(0x800, 0x1000, Cookie), 4)]));

        AssertNoAllocation(OpTeeSmc.CallWithRpcArgument);
    }

    [Test]
    public void Handle_InvokeInRegisteredMessage_AllocatesNothing()
    {
        _ = _driver.RegisterMessagePage();
        Write(GuestBench.Invocation(_session, 0, GuestParameter.ValueInOut(1, 2)));

        AssertNoAllocation(0, OpTeeSmc.CallWithRegisteredArgument, FakeDriver.MessageCookie >> 32,
            FakeDriver.MessageCookie);
    }

    [TestCase(false)]
    [TestCase(true)]
    public void Handle_InvokeWithTemporaryMemory_AllocatesNothing(bool isScattered)
    {
        ulong[] pages = _driver.AllocatePages(4, 2);
        Write(GuestBench.Invocation(_session, 0, isScattered
            ? GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut | OpTeeMessage.AttributeNonContiguous,
                _driver.WritePageList(pages), 0x4000, 0)
            : GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, pages[0], 0x1000, 0)));

        AssertNoAllocation(OpTeeSmc.CallWithRpcArgument);
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(600)]
    public void Handle_RegisterAndUnregister_AllocatesNothing(int pages)
    {
        Register(OtherCookie, 1);
        ulong list = _driver.WritePageList(_driver.AllocatePages(pages, 2));
        Write(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(list, (ulong)pages * 0x1000, Cookie)));
        ulong unregistering = _driver.AllocatePage();
        _driver.WriteMessage(unregistering, GuestBench.Unregistering(Cookie));

        AssertNoAllocation(0, OpTeeSmc.CallWithRpcArgument, 0, _page, OpTeeSmc.CallWithRpcArgument, 0, unregistering);
        Assert.That(_guest.Status.Buffers, Is.EqualTo(1), "Each registration should have ended.");
    }

    [TestCase(0xffff_ffffu, 0xfu)]
    [TestCase(0u, 0x1u)]
    public void Handle_RefusedInvocation_AllocatesNothing(uint session, uint type)
    {
        Write(GuestBench.Invocation(session == 0 ? _session + 1 : _session, 0, new GuestParameter(type, 1, 2, 3)));

        AssertNoAllocation(OpTeeSmc.CallWithRpcArgument);
    }

    [Test]
    public void Handle_RefusedReferenceAndRegistration_AllocatesNothing()
    {
        Write(GuestBench.Invocation(_session, 0, GuestParameter.RegisteredIn(0, 1, Cookie)));
        ulong registering = _driver.AllocatePage();
        ulong list = _driver.WritePageList([_driver.AllocatePage(), 0x1000_0000, 8]);
        _driver.WriteMessage(registering,
            new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 0x3000, Cookie)));

        AssertNoAllocation(0, OpTeeSmc.CallWithRpcArgument, 0, _page, OpTeeSmc.CallWithRpcArgument, 0, registering,
            OpTeeSmc.CallWithArgument, 0, 8);
    }

    [Test]
    public void Handle_NoSlotFree_AllocatesNothing()
    {
        _end = new TaskCompletionSource<TeeResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        Write(GuestBench.Invocation(_session, 0));
        _ = _driver.Start(_page, 0, 0);
        ulong cancelling = _driver.AllocatePage();
        _driver.WriteMessage(cancelling, new GuestMessage(OpTeeMessage.CommandCancel) { Session = _session });

        AssertNoAllocation(0, OpTeeSmc.CallWithRpcArgument, 0, _page, OpTeeSmc.CallWithRpcArgument, 0, cancelling);
        _end.SetResult(TeeResult.Success);
    }

    private void Write(GuestMessage message) => _driver.WriteMessage(_page, message);

    private void Register(ulong cookie, int pages) =>
        Assert.That(
            _driver.Register(_driver.AllocatePages(pages, 2), 0, (ulong)pages * 0x1000, cookie).ReturnCode, Is.Zero);

    private void AssertNoAllocation(uint functionId) => AssertNoAllocation(0, functionId, _page >> 32, _page);

    /// <summary>Makes the calls (identifier, X1, X2 each) often enough to be compiled in full, then measures.</summary>
    private void AssertNoAllocation(ulong x3, params ulong[] calls)
    {
        long first = SmcAllocations.Measure(_guest, calls, x3);
        long second = SmcAllocations.Measure(_guest, calls, x3);

        Assert.That(second, Is.Zero, $"The first round, which compiles, allocated {first} bytes.");
    }
}
