using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>What a VM may hold: refused with the documented code, and usable as before afterwards.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class LimitTests
{
    private const uint OutOfMemory = 0xffff_000c;

    [Test]
    public async Task OpenSession_TableFull_OutOfMemoryUntilOneCloses()
    {
        await using GuestBench bench = Create(new OpTeeLimits { Sessions = 3 });
        uint[] sessions = [bench.Open(), bench.Open(), bench.Open()];

        GuestMessage refused = bench.Driver.OpenSession(GuestBench.Application);
        _ = bench.Driver.CloseSession(sessions[1]);
        uint opened = bench.Open();

        Assert.That((refused.ReturnCode, refused.ReturnOrigin, refused.Session),
            Is.EqualTo((OutOfMemory, (uint)TeeOrigin.Tee, 0u)));
        Assert.That(sessions, Does.Not.Contain(opened), "An old id should not come back at once.");
        Assert.That(((uint[])[sessions[0], sessions[2], opened])
            .Select(session => bench.Driver.Invoke(session, 0).ReturnCode), Is.All.Zero);
        Assert.That((bench.Guest.Status.Sessions, bench.Backend.OpenSessions), Is.EqualTo((3, 3)));
    }

    [Test]
    public async Task OpenSession_ManyTimes_IdsAreFreshAndOldOnesFindNothing()
    {
        await using GuestBench bench = Create(new OpTeeLimits { Sessions = 2 });
        List<uint> ids = [];
        for (int round = 0; round < 200; round++)
        {
            uint id = bench.Open();
            ids.Add(id);
            _ = bench.Driver.CloseSession(id);
        }

        Assert.That(ids, Is.Unique);
        Assert.That(ids.Select(id => bench.Driver.Invoke(id, 0).ReturnCode), Is.All.EqualTo(0xffff_0006u));
    }

    [Test]
    public async Task Register_TooManyBuffers_OutOfMemoryUntilOneGoes()
    {
        await using GuestBench bench = Create(new OpTeeLimits { Buffers = 2 });
        _ = bench.Share(1, 1);
        _ = bench.Share(2, 1);
        ulong[] page = [bench.Driver.AllocatePage()];

        uint refused = bench.Driver.Register(page, 0, 0x1000, 3).ReturnCode;
        bool isPinned = !bench.Ram.TryDiscard(new GuestRange(page[0], 0x1000));
        _ = bench.Driver.Unregister(1);

        Assert.That((refused, isPinned), Is.EqualTo((OutOfMemory, false)));
        Assert.That(bench.Driver.Register(page, 0, 0x1000, 3).ReturnCode, Is.Zero);
        Assert.That(bench.Guest.Status.Buffers, Is.EqualTo(2));
    }

    [TestCase(128, 0u)]
    [TestCase(129, OutOfMemory)]
    public async Task Register_PagesOfOneBuffer_UpToTheLimit(int pages, uint code)
    {
        await using GuestBench bench = Create(new OpTeeLimits { PagesPerBuffer = 128 });

        Assert.That(bench.Driver.Register(bench.Driver.AllocatePages(pages, 2), 0, (ulong)pages * 0x1000, 1).ReturnCode,
            Is.EqualTo(code));
    }

    [Test]
    public async Task Register_PagesInTotal_OutOfMemoryUntilSomeGo()
    {
        await using GuestBench bench = Create(new OpTeeLimits { PagesPerBuffer = 128, Pages = 200 });
        _ = bench.Share(1, 128);
        ulong[] pages = bench.Driver.AllocatePages(73, 2);

        uint refused = bench.Driver.Register(pages, 0, 73 * 0x1000, 2).ReturnCode;
        uint fits = bench.Driver.Register(pages.AsSpan(0, 72), 0, 72 * 0x1000, 3).ReturnCode;
        _ = bench.Driver.Unregister(1);

        Assert.That((refused, fits, bench.Driver.Register(pages, 0, 73 * 0x1000, 2).ReturnCode),
            Is.EqualTo((OutOfMemory, 0u, 0u)));
        Assert.That(bench.Guest.Status.SharedPages, Is.EqualTo(145));
    }

    [Test]
    public async Task Invoke_TemporaryMemoryBeyondTheBudget_OutOfMemoryAndNothingKept()
    {
        await using GuestBench bench = Create(new OpTeeLimits { Buffers = 2 });
        uint session = bench.Open();
        _ = bench.Share(1, 1);
        ulong page = bench.Driver.AllocatePage();
        GuestParameter temporary = GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, page, 0x10, 0);

        uint fits = bench.Driver.Invoke(session, 0, temporary).ReturnCode;
        uint refused = bench.Driver.Invoke(session, 0, temporary, temporary).ReturnCode;

        Assert.That((fits, refused, bench.Guest.Status.Buffers), Is.EqualTo((0u, OutOfMemory, 1)));
        Assert.That(bench.Driver.Invoke(session, 0, temporary).ReturnCode, Is.Zero);
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task Call_NoSlotFree_ThreadLimitUntilACallEnds(bool onWorkers)
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench =
            Create(new OpTeeLimits { Calls = 2 }, onWorkers ? GuestBench.OnWorkers() : new ScriptedBackend());
        uint session = bench.Open();
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Backend.OnInvoke = _ => onWorkers ? Blocking(gate) : new ValueTask<TeeResult>(end.Task);
        PendingCall[] calls = [bench.StartInvoke(session), bench.StartInvoke(session)];

        uint refused = bench.Driver.TrySend(GuestBench.Invocation(session, 0));
        uint cancelled = bench.Driver.Cancel(session, 0).ReturnCode;
        uint unknown = bench.Driver.Cancel(session + 1, 0).ReturnCode;
        int cancellations = bench.Backend.Cancellations;
        gate.Set();
        end.SetResult(TeeResult.Success);
        GuestMessage[] answers = [.. calls.Select(bench.Finish)];

        Assert.That(refused, Is.EqualTo(OpTeeSmc.ReturnThreadLimit));
        Assert.That((cancelled, unknown, cancellations), Is.EqualTo((0u, 0xffff_0006u, 2)),
            "CANCEL needs no slot, and reaches both calls.");
        Assert.That(answers.Select(answer => answer.ReturnCode), Is.All.Zero);
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
        Assert.That(bench.Guest.Status.CallsInFlight, Is.Zero);
    }

    [TestCase(0, 256, 4096, 4096, 16384)]
    [TestCase(65, 256, 4096, 4096, 16384)]
    [TestCase(8, 0, 4096, 4096, 16384)]
    [TestCase(8, 65536, 4096, 4096, 16384)]
    [TestCase(8, 256, 0, 4096, 16384)]
    [TestCase(8, 256, 65537, 4096, 16384)]
    [TestCase(8, 256, 4096, 127, 16384)]
    [TestCase(8, 256, 4096, 1048577, 2000000)]
    [TestCase(8, 256, 4096, 4096, 4095)]
    public void Constructor_LimitOutsideItsRange_Throws(
        int calls, int sessions, int buffers, int pagesPerBuffer, int pages)
    {
        OpTeeLimits limits = new() { Calls = calls, Sessions = sessions, Buffers = buffers,
            PagesPerBuffer = pagesPerBuffer, Pages = pages };
        ScriptedBackend backend = new();

        Assert.That(
            () => new OpTeeGuest(new Memory.ArrayGuestMemory(0, 0), backend, new OpTeeGuestOptions { Limits = limits }),
            Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(backend.Partitions, Is.Zero, "The TEE should not have been told.");
    }

    [TestCase(-0.1, 0.0)]
    [TestCase(1001.0, 0.0)]
    [TestCase(1.0, -1.0)]
    [TestCase(1.0, 600_001.0)]
    public void Constructor_TimeOutsideItsRange_Throws(double quantum, double deadline) => Assert.That(
        () => new OpTeeGuest(
            new Memory.ArrayGuestMemory(0, 0),
            new ScriptedBackend(),
            new OpTeeGuestOptions { Quantum = TimeSpan.FromMilliseconds(quantum),
                ShutdownDeadline = TimeSpan.FromMilliseconds(deadline) }),
        Throws.InstanceOf<ArgumentOutOfRangeException>());

    [TestCase(0x4000_0008ul, 0x1000ul)]
    [TestCase(0x4000_0000ul, 0ul)]
    [TestCase(0x4000_0000ul, 0x1001ul)]
    [TestCase(0xffff_f000ul, 0x2000ul)]
    public void Constructor_ReservedMemoryNotWholePagesBelow4GiB_Throws(ulong start, ulong length) => Assert.That(
        () => new OpTeeGuest(
            new Memory.ArrayGuestMemory(0, 0), new ScriptedBackend(),
            new OpTeeGuestOptions { ReservedSharedMemory = new GuestRange(start, length) }),
        Throws.ArgumentException);

    [Test]
    public void Constructor_Null_Throws()
    {
        Assert.That(() => new OpTeeGuest(null!, new ScriptedBackend()), Throws.ArgumentNullException);
        Assert.That(() => new OpTeeGuest(new Memory.ArrayGuestMemory(0, 0), null!), Throws.ArgumentNullException);
        Assert.That(() => new OpTeeGuest(new Memory.ArrayGuestMemory(0, 0), new ScriptedBackend(), null!),
            Throws.ArgumentNullException);
    }

    private static ValueTask<TeeResult> Blocking(ManualResetEventSlim gate)
    {
        gate.Wait();
        return new(TeeResult.Success);
    }

    private static GuestBench Create(OpTeeLimits limits, ScriptedBackend? backend = null) =>
        new(new OpTeeGuestOptions { Limits = limits }, backend);
}
