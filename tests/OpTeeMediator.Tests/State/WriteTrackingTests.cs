using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.State;

/// <summary>A VMM that copies a running VM learns of all that mediator and TEE write.</summary>
internal sealed class WriteTrackingTests
{
    private static readonly GuestRange s_range = new(GuestBench.RamStart, GuestBench.RamLength);

    [Test]
    public void TakeWritten_WritesOfAnyKind_NamesTheirPagesOnce()
    {
        using MemfdGuestMemory ram = MemfdGuestMemory.Create(s_range, new GuestRange(0x1_0000_0000, 8192));
        TrackedGuestMemory memory = new(ram);
        _ = memory.TryWrite(GuestBench.RamStart, 1UL);
        memory.StartTracking();
        _ = memory.TryWrite(GuestBench.RamStart + (64 * 4096), 1UL);
        _ = memory.TryWrite(GuestBench.RamStart + (65 * 4096) - 4, 1UL);
        _ = memory.TryWrite(s_range.End.Value - 1, new byte[] { 1 });
        _ = memory.TryWrite(s_range.End.Value - 1, new byte[] { 1, 2 });
        memory.NotifyWritten(new GuestRange(0x1_0000_1fff, 5));

        IReadOnlyList<GuestRange> written = memory.TakeWritten();

        Assert.That(written, Is.EqualTo(new GuestRange[]
        {
            new(GuestBench.RamStart + (64 * 4096), 8192),
            new(s_range.End.Value - 4096, 4096),
            new(0x1_0000_1000, 4096),
        }));
        Assert.That(memory.TakeWritten(), Is.Empty);
        memory.StopTracking();
        _ = memory.TryWrite(GuestBench.RamStart, 1UL);
        Assert.That(memory.TakeWritten(), Is.Empty);
    }

    [Test]
    public async Task Handle_TeeWritesToMemoryThatItHasMapped_ItsPagesAreNamed([Values] bool isRegistered)
    {
        using MemfdGuestMemory ram = MemfdGuestMemory.Create(s_range);
        TrackedGuestMemory memory = new(ram);
        ScriptedBackend backend = new() { OnInvoke = request =>
        {
            WriteByMapping(request, 5);
            return new(TeeResult.Success);
        } };
        await using OpTeeGuest guest = new(memory, backend);
        FakeDriver driver = new(guest, memory, s_range);
        ulong[] pages = driver.AllocatePages(3, 2);
        if (isRegistered)
        {
            _ = driver.Register(pages, 0, 12288, 1);
        }

        uint session = driver.OpenSession(GuestBench.Application).Session;
        ulong list = driver.WritePageList(pages);
        memory.StartTracking();
        _ = driver.Invoke(session, 0, isRegistered
            ? GuestParameter.RegisteredOut(4096, 8192, 1)
            : GuestParameter.Temporary(
                OpTeeMessage.TypeTemporaryOutput | (uint)OpTeeMessage.AttributeNonContiguous, list, 12288, 0));

        Assert.That(
            memory.TakeWritten().Select(range => range.Start.Value),
            Is.SupersetOf(new[] { pages[1], pages[2] }));
    }

    [Test]
    public async Task Handle_ResultsInTheMessage_ItsPageIsNamed()
    {
        using MemfdGuestMemory ram = MemfdGuestMemory.Create(s_range);
        TrackedGuestMemory memory = new(ram);
        ScriptedBackend backend = new() { OnInvoke = request =>
        {
            // What the driver has written.
            _ = memory.TakeWritten();
            request.SetValue(0, 1, 2);
            return new(TeeResult.Success);
        } };
        await using OpTeeGuest guest = new(memory, backend);
        FakeDriver driver = new(guest, memory, s_range);
        uint session = driver.OpenSession(GuestBench.Application).Session;
        memory.StartTracking();

        _ = driver.Invoke(session, 0, GuestParameter.ValueOut());

        Assert.That(
            memory.TakeWritten(), Is.EqualTo(new GuestRange[] { new(driver.MessagePage, 4096) }));
    }

    [Test]
    public async Task Handle_CallToTheGuest_ThePageOfItsMessageIsNamed()
    {
        using MemfdGuestMemory ram = MemfdGuestMemory.Create(s_range);
        TrackedGuestMemory memory = new(ram);
        ScriptedBackend backend = new() { OnInvoke = async request =>
        {
            _ = await request.Guest!.GetTimeAsync();
            return TeeResult.Success;
        } };
        await using OpTeeGuest guest = new(memory, backend);
        FakeDriver driver = new(guest, memory, s_range) { Conduit = OpTeeSmc.CallWithArgument };
        uint session = driver.OpenSession(GuestBench.Application).Session;
        SmcRegisters asked = driver.Start(GuestBench.Invocation(session, 0));
        ulong message = driver.AllocatePage();
        memory.StartTracking();

        // The driver writes nothing: it says where the memory is that it was asked for.
        asked = driver.Call(OpTeeSmc.ReturnFromRpc, message >> 32, (uint)message, asked.X3, 0, 1);

        Assert.That((uint)asked.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand));
        Assert.That(memory.TakeWritten(), Is.EqualTo(new GuestRange[] { new(message, 4096) }));
    }

    [Test]
    public async Task PauseAsync_OperationInFlightHasWritten_ItsPagesAreNamed()
    {
        using MemfdGuestMemory ram = MemfdGuestMemory.Create(s_range);
        TrackedGuestMemory memory = new(ram);
        ScriptedBackend backend = GuestBench.OnWorkers();
        backend.OnInvoke = async request =>
        {
            WriteByMapping(request, 5);
            _ = await request.Guest!.GetTimeAsync();
            return TeeResult.Success;
        };
        await using OpTeeGuest guest = new(memory, backend);
        FakeDriver driver = new(guest, memory, s_range);
        ulong[] pages = driver.AllocatePages(1, 1);
        _ = driver.Register(pages, 0, 4096, 1);
        uint session = driver.OpenSession(GuestBench.Application).Session;
        _ = driver.Start(GuestBench.Invocation(session, 0, GuestParameter.RegisteredOut(0, 4096, 1)));
        memory.StartTracking();

        Assert.That(await guest.PauseAsync());

        Assert.That(memory.TakeWritten().Select(range => range.Start.Value), Has.Member(pages[0]));
    }

    /// <summary>As a VMM moves a running VM: copy, copy again what was written, stop, copy once more.</summary>
    [Test]
    public async Task TakeWritten_RunningVm_CopyIsTheSameInTheEnd()
    {
        using MemfdGuestMemory ram = MemfdGuestMemory.Create(s_range);
        TrackedGuestMemory memory = new(ram);
        ScriptedBackend backend = new() { OnInvoke = request =>
        {
            WriteByMapping(request, (byte)request.CommandId);
            return new(TeeResult.Success);
        } };
        await using OpTeeGuest guest = new(memory, backend);
        byte[] copy = new byte[s_range.Length];
        using CancellationTokenSource stop = new();
        Task vcpu = Task.Run(() => Run(guest, memory, stop.Token));
        Thread.Sleep(50);

        memory.StartTracking();
        _ = ram.TryRead(s_range.Start, copy);
        int rounds = 0;
        for (; rounds < 30; rounds++)
        {
            Copy(ram, memory.TakeWritten(), copy);
            Thread.Sleep(2);
        }

        await stop.CancelAsync();
        await vcpu;
        Assert.That(await guest.PauseAsync());
        Copy(ram, memory.TakeWritten(), copy);

        byte[] content = new byte[s_range.Length];
        _ = ram.TryRead(s_range.Start, content);
        Assert.That(copy.AsSpan().SequenceEqual(content), "Every page should be the same.");
        Assert.That(content.Any(value => value != 0));
    }

    private static void Run(OpTeeGuest guest, TrackedGuestMemory memory, CancellationToken stop)
    {
        FakeDriver driver = new(guest, memory, s_range);
        Random random = new(7);
        ulong[] pages = driver.AllocatePages(100, 3);
        _ = driver.Register(pages, 0, 409_600, 1);
        uint session = driver.OpenSession(GuestBench.Application).Session;
        while (!stop.IsCancellationRequested)
        {
            ulong offset = (ulong)random.Next(400_000);
            _ = driver.Invoke(session, (uint)random.Next(),
                GuestParameter.RegisteredInOut(offset, (ulong)random.Next(1, 9000), 1), GuestParameter.ValueOut());
        }
    }

    private static void Copy(MemfdGuestMemory ram, IReadOnlyList<GuestRange> ranges, byte[] copy)
    {
        foreach (GuestRange range in ranges)
        {
            int start = (int)(range.Start.Value - s_range.Start.Value);
            _ = ram.TryRead(range.Start, copy.AsSpan(start, (int)range.Length));
        }
    }

    private static unsafe void WriteByMapping(TeeRequest request, byte value)
    {
        ref readonly TeeParameter parameter = ref request.Parameters[0];
        ulong offset = 0;
        while (offset < parameter.Size
            && parameter.Memory!.TryGetHostAddress(parameter.Offset + offset, out nint address, out ulong length))
        {
            int part = (int)Math.Min(length, parameter.Size - offset);
            MemoryMarshal.CreateSpan(ref *(byte*)address, part).Fill(value);
            offset += (ulong)part;
        }
    }
}
