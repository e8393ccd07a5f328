using System.Runtime.InteropServices;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>The steady state of forwarding allocates nothing. The counter is that of the thread, so other tests do not
/// disturb it.</summary>
internal sealed class AllocationTests
{
    private const ulong Start = 0x4000_0000;
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    private ArrayRam _ram = null!;
    private OpTeeForwarder _forwarder = null!;
    private FakeDriver _driver = null!;
    private ulong _page;

    [SetUp]
    public void CreateVm()
    {
        _ram = new ArrayRam(Start, 32 << 20);
        PartitionedMemory memory = new(_ram, Start, 1 << 20,
            [.. Enumerable.Range(0, 31).Select(block => Start + ((ulong)block << 20))], Start + (31ul << 20), 256);
        _forwarder = new OpTeeForwarder(new HostOpTee(new PromptOpTee(_ram)), memory, memory);
        _driver = new FakeDriver(_forwarder, memory, new GuestRange(Start, 31 << 20));
        _page = _driver.MessagePage;
    }

    [TearDown]
    public async Task DestroyVm() => await _forwarder.DisposeAsync();

    [TestCase(OpTeeSmc.CallsUid)]
    [TestCase(OpTeeSmc.GetThreadCount)]
    [TestCase(OpTeeSmc.EnableShmCache)]
    [TestCase(0xb200_0055u)]
    [TestCase(OpTeeSmc.ReturnFromRpc)]
    public void Handle_CallsWithoutAMessage_AllocatesNothing(uint functionId) =>
        AssertNoAllocation(0, functionId, 0, 0);

    [TestCase(OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.CallWithRpcArgument)]
    public void Handle_InvokeWithValuesAndBuffers_AllocatesNothing(uint functionId)
    {
        Assert.That(_driver.Register(_driver.AllocatePages(5, 2), 0, 5 * 4096, Cookie).ReturnCode, Is.Zero);
        _driver.WriteMessage(_page,
            ForwardedVm.Invocation(1, GuestParameter.ValueInOut(1, 2), GuestParameter.RegisteredInOut(0, 8, Cookie),
            GuestParameter.RegisteredIn(8, 8, Cookie)));

        AssertNoAllocation(0, functionId, _page >> 32, _page);
    }

    [Test]
    public void Handle_InvokeInRegisteredMemory_AllocatesNothing()
    {
        Assert.That(_driver.Register([_page], 0, 4096, Cookie).ReturnCode, Is.Zero);
        _driver.WriteMessage(_page, ForwardedVm.Invocation(1, GuestParameter.ValueInOut(1, 2)));

        AssertNoAllocation(0, OpTeeSmc.CallWithRegisteredArgument, Cookie >> 32, Cookie);
    }

    [TestCase(1)]
    [TestCase(600)]
    public void Handle_RegisterAndUnregister_AllocatesNothing(int pages)
    {
        ulong list = _driver.WritePageList(_driver.AllocatePages(pages, 2));
        _driver.WriteMessage(_page,
            new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(list, (ulong)pages * 4096, Cookie)));
        ulong unregistering = _driver.AllocatePage();
        _driver.WriteMessage(unregistering,
            new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, Cookie)));

        AssertNoAllocation(0, OpTeeSmc.CallWithRpcArgument, 0, _page, OpTeeSmc.CallWithRpcArgument, 0, unregistering);
        Assert.That(_forwarder.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    [Test]
    public void Handle_RpcAndItsReturn_AllocatesNothing()
    {
        _driver.WriteMessage(_page, ForwardedVm.Invocation(PromptOpTee.SessionThatAsks));

        AssertNoAllocation(0, OpTeeSmc.CallWithRpcArgument, 0, _page, OpTeeSmc.ReturnFromRpc, 0, 0);
        Assert.That(_forwarder.Status.CallsInFlight, Is.Zero);
    }

    /// <summary>Makes the calls (identifier, X1, X2 each) until the runtime has compiled them in full; resumes get the
    /// last X3.</summary>
    private void AssertNoAllocation(ulong x3, params ulong[] calls) =>
        Assert.That(() => SmcAllocations.Measure(_forwarder, calls, x3), Is.Zero.After(20_000, 20),
            "Bytes of a whole measurement.");

    /// <summary>Answers everything at once, or after one RPC, and allocates nothing itself.</summary>
    private sealed class PromptOpTee(ArrayRam ram) : ISecureMonitor
    {
        public const uint SessionThatAsks = 77;

        private ulong _message;

        public void MakeCall(ref SmcRegisters registers)
        {
            switch (registers.FunctionId.Value)
            {
                case OpTeeSmc.CallsUid:
                    registers.X0 = 0x384f_b3e0;
                    registers.X1 = 0xe7f8_11e3;
                    registers.X2 = 0xaf63_0002;
                    registers.X3 = 0xa5d5_c51b;
                    return;

                case OpTeeSmc.ExchangeCapabilities:
                    registers.X0 = 0;
                    registers.X1 = 0xfd;
                    registers.X3 = 4;
                    return;

                case OpTeeSmc.GetThreadCount:
                    registers.X0 = 0;
                    registers.X1 = 2;
                    return;

                case OpTeeSmc.CallWithArgument:
                case OpTeeSmc.CallWithRpcArgument:
                    _message = registers.Pair(1, 2);
                    Span<uint> header = MemoryMarshal.Cast<byte, uint>(ram.At(_message, OpTeeMessage.HeaderSize));
                    header[5] = 0;
                    registers.X0 = header[2] == SessionThatAsks ? OpTeeSmc.ReturnRpcCommand : OpTeeSmc.ReturnOk;
                    return;

                default:
                    registers.X0 = 0;
                    return;
            }
        }
    }
}
