using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Memory;

namespace OpTeeMediator.Tests.SharedMemory;

/// <summary>
/// Guest RAM at the end of the 64-bit address space: every page that a <see cref="GuestRange"/> can contain works.
/// </summary>
[Parallelizable(ParallelScope.All)]
internal sealed class HighMemoryTests
{
    private const ulong Page = 0x1000;
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const int Pages = 64;

    /// <summary>The last page but one: the end of the last one does not fit 64 bits.</summary>
    private const ulong LastRamPage = 0xffff_ffff_ffff_e000;
    private const ulong RamStart = LastRamPage - ((Pages - 1) * Page);

    // A backend that never returns shall fail the test, not hang it.
    private static readonly TimeSpan Guard = TimeSpan.FromMinutes(1);

    [TestCase(new ulong[] { LastRamPage })]
    [TestCase(new ulong[] { LastRamPage - Page, LastRamPage })]
    [TestCase(new ulong[] { LastRamPage, LastRamPage - Page })]
    [TestCase(new ulong[] { LastRamPage, LastRamPage - (2 * Page), LastRamPage - Page, LastRamPage - (4 * Page) })]
    public async Task RegisterShm_PagesUpToTheEnd_ReadsAndWritesEveryByte(ulong[] pages)
    {
        ArrayGuestMemory memory = new(RamStart, Pages * (int)Page);
        byte[] written = new byte[pages.Length * (int)Page];
        new Random(1).NextBytes(written);
        byte[] read = new byte[written.Length];
        ScriptedBackend backend = new()
        {
            OnRegister = buffer =>
                buffer.TryWrite(0, written) && buffer.TryRead(0, read) ? TeeReturnCode.Success : TeeReturnCode.Generic,
        };
        OpTeeGuest guest = new(memory, backend);
        FakeDriver driver = new(guest, memory, new GuestRange(RamStart, (Pages - 8) * Page));

        uint code =
            await Task.Run(() => driver.Register(pages, 0, (ulong)written.Length, Cookie).ReturnCode).WaitAsync(Guard);

        Assert.That((code, read), Is.EqualTo((0u, written)));
        byte[] first = new byte[Page];
        driver.Read<byte>(pages[0], first);
        Assert.That(first, Is.EqualTo(written[..(int)Page]));
        await guest.DisposeAsync();
    }

    [TestCase(LastRamPage, 0x1000ul, 0u)]
    [TestCase(LastRamPage + 8, 0xff8ul, 0u)]
    [TestCase(LastRamPage - Page, 0x2000ul, 0u)]
    [TestCase(LastRamPage, 0x1001ul, 0xffff_0006u)]
    [TestCase(LastRamPage + Page, 8ul, 0xffff_0006u)]
    public async Task Invoke_TemporaryReferenceUpToTheEnd_IsAccepted(ulong address, ulong size, uint code)
    {
        ArrayGuestMemory memory = new(RamStart, Pages * (int)Page);
        ScriptedBackend backend = new()
        {
            OnInvoke = request => new(request.Parameters[0].TryWrite(0, new byte[(int)request.Parameters[0].Capacity])
                ? TeeResult.Success
                : TeeResult.FromTee(TeeReturnCode.Generic)),
        };
        OpTeeGuest guest = new(memory, backend);
        FakeDriver driver = new(guest, memory, new GuestRange(RamStart, (Pages - 8) * Page));
        uint session = driver.OpenSession(Guid.NewGuid()).Session;

        GuestMessage answer =
            driver.Invoke(session, 0, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, address, size, 0));

        Assert.That(answer.ReturnCode, Is.EqualTo(code));
        await guest.DisposeAsync();
    }

    // The address of the list says nothing about the size of the buffer.
    [Test]
    public async Task RegisterShm_ListInTheLastRamPage_IsRead()
    {
        ArrayGuestMemory memory = new(RamStart, Pages * (int)Page);
        OpTeeGuest guest = new(memory, new ScriptedBackend());
        FakeDriver driver = new(guest, memory, new GuestRange(RamStart, (Pages - 8) * Page));
        driver.Write<ulong>(LastRamPage, [RamStart, RamStart + (2 * Page), RamStart + (4 * Page)]);

        uint answer = driver.TrySend(
            new GuestMessage(
                OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(LastRamPage, 3 * Page, Cookie)));

        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(guest.Status.SharedPages, Is.EqualTo(3));
        await guest.DisposeAsync();
    }
}
