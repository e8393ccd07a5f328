using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>Where a message may lie, and how long it may be. Real OP-TEE answers EBADADDR to all
/// that is wrong here.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class MessageAddressTests
{
    private const ulong Cookie = 0x1234_5678_9abc_def0;

    [TestCase(0x3200_0004u)]
    [TestCase(0x3200_0012u)]
    public async Task Call_AddressesThatAreNone_BadAddress(uint functionId)
    {
        await using GuestBench bench = new();

        // 0; not aligned; before, behind and far from RAM; where an addition would wrap.
        ulong[] addresses =
        [
            0, GuestBench.RamStart + 8, GuestBench.RamStart + 0xfff, GuestBench.RamStart - 0x1000,
            GuestBench.SecondRegion + GuestBench.SecondLength,
            0x8000_0000_0000_0000, 0xffff_ffff_ffff_f000, 0xffff_ffff_ffff_ffff, GuestBench.RamStart | 0x1_0000_0000,
        ];

        Assert.That(addresses.Select(address => bench.Driver.Call(functionId, address >> 32, address).X0),
            Is.All.EqualTo(OpTeeSmc.ReturnBadAddress));
        Assert.That(await bench.DisposeGuestAsync(), Is.EqualTo(GuestBench.Nothing));
    }

    // 127 parameters fill a page (OPTEE_MSG_MAX_NUM_PARAMS); an RPC message of 4 takes 160 bytes of it.
    [TestCase(0x3200_0004u, 127u, 0u)]
    [TestCase(0x3200_0004u, 128u, 4u)]
    [TestCase(0x3200_0004u, 0x0800_0000u, 4u)]
    [TestCase(0x3200_0004u, 0x0800_0001u, 4u)]
    [TestCase(0x3200_0004u, 0x8000_0000u, 4u)]
    [TestCase(0x3200_0004u, 0xffff_ffffu, 4u)]
    [TestCase(0x3200_0012u, 122u, 0u)]
    [TestCase(0x3200_0012u, 123u, 4u)]
    [TestCase(0x3200_0012u, 0xffff_ffffu, 4u)]
    [TestCase(0x3200_0013u, 122u, 0u)]
    [TestCase(0x3200_0013u, 123u, 4u)]
    [TestCase(0x3200_0013u, 0xffff_ffffu, 4u)]
    public async Task Call_NumberOfParameters_IsBoundedByThePage(uint functionId, uint parameters, uint answer)
    {
        await using GuestBench bench = new();
        uint session = bench.Open();
        _ = bench.Driver.RegisterMessagePage();
        bench.Driver.Conduit = functionId;
        byte[] before = WriteInvocation(bench, session, parameters);

        SmcRegisters registers = bench.Driver.Start(bench.Driver.MessagePage, FakeDriver.MessageCookie, 0);

        Assert.That(registers.X0, Is.EqualTo(answer));

        // Where it fits, it still has more parameters than a command can have: BAD_PARAMETERS.
        Assert.That(
            MessageBytes.Read(bench.Driver, bench.Driver.MessagePage),
            Is.EqualTo(answer == OpTeeSmc.ReturnOk ? before.WithResult(0xffff_0006, 3) : before));
    }

    [TestCase(0x0ul, true)]
    [TestCase(0x180ul, true)]
    [TestCase(0xf40ul, true, Description = "192 bytes: message of none and RPC message of four")]
    [TestCase(0xf48ul, false)]
    [TestCase(0x184ul, false)]
    [TestCase(0x181ul, false)]
    [TestCase(0xff8ul, false)]
    [TestCase(0x1000ul, false)]
    [TestCase(0xffff_fff8ul, false)]
    [TestCase(0x1_0000_0180ul, true, Description = "the upper half of a3 is no part of it")]
    public async Task CallRegistered_Offset_IsAlignedAndWithinTheBuffer(ulong offset, bool isGood)
    {
        await using GuestBench bench = new();
        uint session = bench.Open();
        ulong page = bench.Driver.AllocatePage();
        Assert.That(bench.Driver.Register([page], 0, 0x1000, Cookie).ReturnCode, Is.Zero);
        bench.Driver.WriteMessage(page + (offset & 0xff8), GuestBench.Invocation(session, 0));

        SmcRegisters registers = bench.Driver.Call(OpTeeSmc.CallWithRegisteredArgument, Cookie >> 32, Cookie, offset);

        Assert.That(registers.X0, Is.EqualTo(isGood ? OpTeeSmc.ReturnOk : OpTeeSmc.ReturnBadAddress));
    }

    [Test]
    public async Task CallRegistered_BufferEndsBeforeTheMessage_BadAddress()
    {
        await using GuestBench bench = new();
        uint session = bench.Open();
        ulong page = bench.Driver.AllocatePage();
        _ = bench.Driver.Register([page], 0, 191, Cookie);
        bench.Driver.WriteMessage(page, GuestBench.Invocation(session, 0));

        Assert.That(bench.Driver.Call(OpTeeSmc.CallWithRegisteredArgument, Cookie >> 32, Cookie, 0).X0,
            Is.EqualTo(OpTeeSmc.ReturnBadAddress));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task CallRegistered_MessageAcrossRegions_IsAnswered(bool isPlain)
    {
        await using GuestBench bench = new(wrap: memory => isPlain ? new PlainGuestMemory(memory) : memory);
        uint session = bench.Open();
        ulong last = GuestBench.SecondRegion - 0x1000;
        _ = bench.Driver.Register([last, GuestBench.SecondRegion], 0, 0x2000, Cookie);
        bench.Backend.OnInvoke = request =>
        {
            request.SetValue(0, request.Parameters[0].B, request.Parameters[0].B);
            return new(Backends.TeeResult.Success);
        };

        // The header ends where the region ends.
        bench.Driver.WriteMessage(last + 0xfe0, GuestBench.Invocation(session, 0, GuestParameter.ValueInOut(1, 2)));

        Assert.That(bench.Driver.Call(OpTeeSmc.CallWithRegisteredArgument, Cookie >> 32, Cookie, 0xfe0).X0,
            Is.EqualTo(OpTeeSmc.ReturnOk));
        GuestMessage answer = bench.Driver.ReadMessage(last + 0xfe0, 1);
        Assert.That((answer.ReturnCode, answer.ReturnOrigin, answer.Parameters[0].A), Is.EqualTo((0u, 4u, 2ul)));
    }

    [Test]
    public async Task CallRegistered_CookieNoLongerRegistered_BadAddress()
    {
        await using GuestBench bench = new();
        _ = bench.Driver.RegisterMessagePage();
        _ = bench.Driver.Unregister(FakeDriver.MessageCookie);

        Assert.That(bench.Driver.TrySend(new GuestMessage(OpTeeMessage.CommandCancel)),
            Is.EqualTo(OpTeeSmc.ReturnBadAddress));
    }

    [TestCase(8ul, 0u)]
    [TestCase(0xffe0ul, 0u, Description = "a message of 32 bytes at the very end")]
    [TestCase(0xffe8ul, 4u)]
    [TestCase(4ul, 4u)]
    [TestCase(0x1_0008ul, 4u, Description = "behind the region, not page-aligned")]
    public async Task Call_MessageInReservedMemory_NeedsNoPageOfItsOwn(ulong offset, uint answer)
    {
        GuestRange reserved = new(GuestBench.FreePages, 0x1_0000);
        await using GuestBench bench = new(new OpTeeGuestOptions { ReservedSharedMemory = reserved });
        ulong address = GuestBench.FreePages + offset;
        bench.Driver.WriteMessage(address, new GuestMessage(OpTeeMessage.CommandCancel));

        Assert.That(bench.Driver.Call(OpTeeSmc.CallWithArgument, address >> 32, address).X0, Is.EqualTo(answer));
    }

    [TestCase(0x99u)]
    [TestCase(6u, Description = "DO_BOTTOM_HALF, not offered")]
    [TestCase(0xffff_ffffu)]
    public async Task Call_UnknownCommand_BadCommandAndMessageUntouched(uint command)
    {
        await using GuestBench bench = new();
        byte[] before = MessageBytes.Write(bench.Driver, bench.Driver.MessagePage,
            new GuestMessage(command, GuestParameter.ValueInOut(1, 2)));

        SmcRegisters registers = bench.Driver.Start(bench.Driver.MessagePage, 0, 0);

        Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnBadCommand));
        Assert.That(MessageBytes.Read(bench.Driver, bench.Driver.MessagePage), Is.EqualTo(before));
    }

    private static byte[] WriteInvocation(GuestBench bench, uint session, uint parameters)
    {
        ulong page = bench.Driver.MessagePage;
        _ = MessageBytes.Write(bench.Driver, page, GuestBench.Invocation(session, 0));
        bench.Driver.Write<uint>(page + 28, [parameters]);
        return MessageBytes.Read(bench.Driver, page);
    }
}
