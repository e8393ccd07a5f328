using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.SharedMemory;

/// <summary>REGISTER_SHM and UNREGISTER_SHM: page lists, good and bad.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class PageListTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const uint BadParameters = 0xffff_0006;
    private const uint OutOfMemory = 0xffff_000c;

    // A page of a list has 511 addresses and a link; with the length at which a list gets another page, one on each
    // side.
    [TestCase(1, 1)]
    [TestCase(1, 2)]
    [TestCase(2, 1)]
    [TestCase(2, 2)]
    [TestCase(510, 2)]
    [TestCase(511, 2)]
    [TestCase(512, 2)]
    [TestCase(513, 2)]
    [TestCase(511, 1)]
    [TestCase(512, 1)]
    [TestCase(1022, 2)]
    [TestCase(1023, 2)]
    [TestCase(1023, 1)]
    [TestCase(1534, 1)]
    public async Task Register_ListOfSomeLength_EveryPageIsInItsPlace(int count, int stride)
    {
        await using GuestBench bench = new();
        ulong[] pages = bench.Driver.AllocatePages(count, stride);
        WriteNumbers(bench, pages);
        ulong[] seen = [];
        bench.Backend.OnRegister = memory =>
        {
            seen = ReadNumbers(memory);
            return TeeReturnCode.Success;
        };

        GuestMessage answer = bench.Driver.Register(pages, 0, (ulong)count * 0x1000, Cookie);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(seen, Is.EqualTo(Enumerable.Range(1, count).Select(number => (ulong)number)));
        Assert.That(bench.Guest.Status, Is.EqualTo(new OpTeeGuestStatus(0, 0, 1, count)));
        Assert.That(bench.Driver.Unregister(Cookie).ReturnCode, Is.Zero);
        Assert.That((bench.Guest.Status, bench.Backend.RegisteredBuffers), Is.EqualTo((GuestBench.Nothing, 0)));
    }

    [TestCase(0x0ul, 0x1000ul, 1)]
    [TestCase(0xffful, 1ul, 1)]
    [TestCase(0xffful, 2ul, 2)]
    [TestCase(0x9dul, 0x2328ul, 3)]
    [TestCase(0x1ul, 0x1ffful, 2)]
    [TestCase(0x1ul, 0x2000ul, 3)]
    public async Task Register_OffsetInTheFirstPage_BuffersBeginThere(ulong pageOffset, ulong size, int count)
    {
        await using GuestBench bench = new();
        ulong[] pages = bench.Driver.AllocatePages(count, 2);
        bench.Driver.Write<byte>(pages[0] + pageOffset, [0x77]);
        bench.Driver.Write<byte>(pages[^1] + ((pageOffset + size - 1) % 0x1000), [0x78]);
        byte[] ends = new byte[2];
        bool reachesBeyond = true;
        bench.Backend.OnRegister = memory =>
        {
            Assert.That(memory.Size, Is.EqualTo(size));
            reachesBeyond =
                memory.TryRead(size, new byte[1])
                || memory.TryRead(ulong.MaxValue, new byte[1])
                || memory.TryWrite(size - 1, new byte[2]);
            return memory.TryRead(0, ends.AsSpan(0, 1))
                && memory.TryRead(size - 1, ends.AsSpan(1))
                ? TeeReturnCode.Success
                : TeeReturnCode.Generic;
        };

        Assert.That(bench.Driver.Register(pages, pageOffset, size, Cookie).ReturnCode, Is.Zero);

        Assert.That(ends, Is.EqualTo(size == 1 ? (byte[])[0x78, 0x78] : [0x77, 0x78]));
        Assert.That(reachesBeyond, Is.False);
        Assert.That(bench.Guest.Status.SharedPages, Is.EqualTo(count));
    }

    [TestCase(0ul, 0ul, BadParameters, Description = "size 0")]
    [TestCase(0ul, ulong.MaxValue, BadParameters, Description = "wraps with the address")]
    [TestCase(0ul, 0x1000_0000_0000ul, OutOfMemory, Description = "16 TiB: more pages than a buffer may have")]
    [TestCase(0ul, 4097ul * 0x1000, OutOfMemory, Description = "one page more than a buffer may have by default")]
    [TestCase(1ul, 4096ul * 0x1000, OutOfMemory, Description = "as many bytes as fit, but on one page more")]
    public async Task Register_WrongSize_RefusedWithoutReadingTheList(ulong pageOffset, ulong size, uint code)
    {
        await using GuestBench bench = new();

        Assert.That(
            Refusal(bench, GuestParameter.PageList(bench.Driver.AllocatePage() + pageOffset, size, Cookie)),
            Is.EqualTo(code));
    }

    [TestCase(0x1000_0000ul, 0x1000ul, Description = "list outside RAM, one page")]
    [TestCase(0x1000_0000ul, 0x2000ul, Description = "list outside RAM, two pages")]
    [TestCase(GuestBench.SecondRegion + GuestBench.SecondLength, 0x1000ul, Description = "list right behind RAM")]
    [TestCase(0ul, 0x1000ul, Description = "no list")]
    [TestCase(0xffff_ffff_ffff_f000ul, 0x1000ul, Description = "list in the last page of all")]
    [TestCase(0xffff_ffff_ffff_f000ul, 0x2000ul, Description = "list in the last page of all, two pages")]
    [TestCase(0xffff_ffff_ffff_fffful, 0xffff_ffff_ffff_fffful, Description = "the sums wrap")]
    [TestCase(0xffff_ffff_ffff_f000ul, 0xffff_ffff_ffff_fffful, Description = "the sums wrap to no page")]
    public async Task Register_ListIsNowhere_BadParameters(ulong list, ulong size)
    {
        await using GuestBench bench = new();

        Assert.That(Refusal(bench, GuestParameter.PageList(list, size, Cookie)), Is.EqualTo(BadParameters));
    }

    [TestCase(0x1000_0000ul, Description = "outside RAM")]
    [TestCase(GuestBench.RamStart + 8, Description = "not aligned")]
    [TestCase(GuestBench.RamStart + 0xfff, Description = "not aligned")]
    [TestCase(GuestBench.RamStart - 0x1000, Description = "before RAM")]
    [TestCase(GuestBench.SecondRegion + GuestBench.SecondLength, Description = "behind RAM")]
    [TestCase(0xffff_ffff_ffff_f000ul, Description = "the last page of all")]
    [TestCase(0xffff_ffff_ffff_e000ul, Description = "the last page but one")]
    [TestCase(0ul)]
    public async Task Register_OneBadPage_BadParameters(ulong bad)
    {
        await using GuestBench bench = new();
        ulong good = bench.Driver.AllocatePage();
        ulong[][] lists =
        [
            [bad], [bad, good], [good, bad], [good, good, good, good, bad], [good, good, bad, good, good, good, good],
            [good, bad, bad + 0x1000],
        ];

        Assert.That(
            lists.Select(
                pages => Refusal(
                    bench,
                    GuestParameter.PageList(bench.Driver.WritePageList(pages), (ulong)pages.Length * 0x1000, Cookie))),
            Is.All.EqualTo(BadParameters));
    }

    [Test]
    public async Task Register_ContiguousRunLeavesRam_BadParameters()
    {
        await using GuestBench bench = new();
        ulong last = GuestBench.SecondRegion + GuestBench.SecondLength - 0x1000;

        Assert.That(
            Refusal(bench, GuestParameter.PageList(bench.Driver.WritePageList([last, last + 0x1000]), 0x2000, Cookie)),
            Is.EqualTo(BadParameters));
    }

    [TestCase(0x1000_0000ul, Description = "outside RAM")]
    [TestCase(0ul, Description = "cut short")]
    [TestCase(GuestBench.RamStart + 8, Description = "not aligned")]
    [TestCase(0xffff_ffff_ffff_f000ul)]
    public async Task Register_LinkToNowhere_BadParameters(ulong link)
    {
        await using GuestBench bench = new();
        ulong[] pages = bench.Driver.AllocatePages(512, 1);
        ulong list = bench.Driver.WritePageList(pages);
        bench.Driver.Write<ulong>(list + (511 * 8), [link]);

        Assert.That(Refusal(bench, GuestParameter.PageList(list, 512 * 0x1000, Cookie)), Is.EqualTo(BadParameters));
    }

    [Test]
    public async Task Register_ListThatLoops_IsWalkedAsFarAsItsSizeNeeds()
    {
        HookedGuestMemory? hooks = null;
        await using GuestBench bench = new(wrap: memory => hooks = new HookedGuestMemory(memory));
        ulong[] pages = bench.Driver.AllocatePages(511, 1);
        ulong list = bench.Driver.WritePageList(pages);
        bench.Driver.Write<ulong>(list + (511 * 8), [list]);
        int before = hooks!.Accesses;

        GuestMessage answer = bench.Driver.Send(
            new GuestMessage(
                OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 4 * 511 * 0x1000, Cookie)));

        // The same pages four times over: real OP-TEE takes that too.
        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(
            hooks.Accesses - before, Is.EqualTo(7), "The message, four pages of the list, the pin, the answer.");
    }

    [TestCase(0xau, Description = "without NONCONTIG")]
    [TestCase(0x209u, Description = "input")]
    [TestCase(0x20bu, Description = "in and out")]
    [TestCase(0x206u, Description = "registered")]
    [TestCase(0x30au, Description = "META")]
    [TestCase(0x60au, Description = "one attribute more")]
    [TestCase(0x0u)]
    public async Task Register_WrongAttributes_BadParameters(uint attributes)
    {
        await using GuestBench bench = new();
        ulong list = bench.Driver.WritePageList([bench.Driver.AllocatePage()]);

        Assert.That(Refusal(bench, new GuestParameter(attributes, list, 0x1000, Cookie)), Is.EqualTo(BadParameters));
    }

    [TestCase(OpTeeMessage.CommandRegisterSharedMemory)]
    [TestCase(OpTeeMessage.CommandUnregisterSharedMemory)]
    public async Task RegisterAndUnregister_NotOneParameter_BadParameters(uint command)
    {
        await using GuestBench bench = new();
        GuestParameter list =
            GuestParameter.PageList(bench.Driver.WritePageList([bench.Driver.AllocatePage()]), 0x1000, Cookie);

        Assert.That(bench.Driver.Send(new GuestMessage(command)).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(bench.Driver.Send(new GuestMessage(command, list, list)).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    /// <summary>A deviation: real OP-TEE accepts it, and keeps both.</summary>
    [Test]
    public async Task Register_CookieTwice_SecondIsRefusedAndFirstStays()
    {
        await using GuestBench bench = new();
        uint session = bench.Open();
        _ = bench.Share(Cookie, 2);

        Assert.That(
            Refusal(
                bench,
                GuestParameter.PageList(bench.Driver.WritePageList([bench.Driver.AllocatePage()]), 0x1000, Cookie)),
            Is.EqualTo(BadParameters));
        Assert.That(
            bench.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0x1000, 0x1000, Cookie)).ReturnCode, Is.Zero);
    }

    [TestCase(0ul)]
    [TestCase(ulong.MaxValue)]
    [TestCase(1ul)]
    public async Task Register_AnyCookie_IsFound(ulong cookie)
    {
        await using GuestBench bench = new();
        uint session = bench.Open();
        _ = bench.Share(cookie, 1);

        Assert.That(
            bench.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 0x1000, cookie)).ReturnCode, Is.Zero);
        Assert.That(bench.Driver.Unregister(cookie).ReturnCode, Is.Zero);
        Assert.That(bench.Driver.Unregister(cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(
            bench.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 0x1000, cookie)).ReturnCode,
            Is.EqualTo(BadParameters));
    }

    [Test]
    public async Task Register_BackendRefuses_GuestGetsTheCodeAndNothingIsKept()
    {
        await using GuestBench bench = new();
        bench.Backend.OnRegister = _ => TeeReturnCode.OutOfMemory;
        ulong page = bench.Driver.AllocatePage();

        Assert.That(bench.Driver.Register([page], 0, 0x1000, Cookie).ReturnCode, Is.EqualTo(OutOfMemory));
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
        Assert.That(bench.Ram.TryDiscard(new GuestRange(page, 0x1000)), "The page should be unpinned.");
    }

    [Test]
    public async Task Register_BufferIsShared_ItsPagesArePinnedUntilItIsNot()
    {
        await using GuestBench bench = new();
        ulong[] pages = bench.Share(Cookie, 2);
        GuestRange second = new(pages[1], 0x1000);

        Assert.That(bench.Ram.TryDiscard(second), Is.False);
        _ = bench.Driver.Unregister(Cookie);
        Assert.That(bench.Ram.TryDiscard(second));
    }

    [TestCase(OpTeeMessage.CommandRegisterSharedMemory)]
    [TestCase(OpTeeMessage.CommandUnregisterSharedMemory)]
    public async Task RegisterAndUnregister_Success_OnlyTheReturnCodeIsWritten(uint command)
    {
        await using GuestBench bench = new();
        _ = bench.Share(Cookie, 1);
        GuestParameter parameter = command == OpTeeMessage.CommandRegisterSharedMemory
            ? GuestParameter.PageList(bench.Driver.WritePageList([bench.Driver.AllocatePage()]), 0x1000, Cookie + 1)
            : GuestParameter.RegisteredIn(0, 0, Cookie);
        byte[] before =
            Calls.MessageBytes.Write(bench.Driver, bench.Driver.MessagePage, new GuestMessage(command, parameter));

        _ = bench.Driver.Finish(bench.Driver.Start(bench.Driver.MessagePage, 0, 0));

        // Real OP-TEE leaves ret_origin alone here.
        Assert.That(
            Calls.MessageBytes.Read(bench.Driver, bench.Driver.MessagePage),
            Is.EqualTo(Calls.MessageBytes.With32(before, Calls.MessageBytes.ReturnCode, 0)));
    }

    private static uint Refusal(GuestBench bench, GuestParameter parameter)
    {
        OpTeeGuestStatus status = bench.Guest.Status;
        int registered = bench.Backend.RegisteredBuffers;
        GuestMessage answer = bench.Driver.Send(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, parameter));
        Assert.That(
            (bench.Guest.Status, bench.Backend.RegisteredBuffers),
            Is.EqualTo((status, registered)),
            "Nothing should be kept.");
        Assert.That(
            bench.Loggers.EventIds.Where(id => id >= 1100), Is.Empty, "A guest's fault should be no host fault.");
        return answer.ReturnCode;
    }

    private static void WriteNumbers(GuestBench bench, ulong[] pages)
    {
        for (int index = 0; index < pages.Length; index++)
        {
            bench.Driver.Write<ulong>(pages[index], [(ulong)index + 1]);
        }
    }

    private static ulong[] ReadNumbers(TeeSharedMemory memory)
    {
        ulong[] numbers = new ulong[memory.Size / 0x1000];
        byte[] bytes = new byte[8];
        for (int index = 0; index < numbers.Length; index++)
        {
            Assert.That(memory.TryRead((ulong)index * 0x1000, bytes));
            numbers[index] = BitConverter.ToUInt64(bytes);
        }

        return numbers;
    }
}
