using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Supplied;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.State;

/// <summary>Each call of what the VMM supplies fails during a restore: the restore fails with a reason or succeeds,
/// nothing is left, the TEE is told where the VM goes on, and the next restore works.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class FailedRestoreTests
{
    private const ulong Cookie = 0x1000;

    private static readonly OpTeeStateOptions s_options = new();
    private static readonly GuestRange s_ram = new(GuestBench.RamStart, GuestBench.RamLength);
    private static int s_names;

    // Without them there is no guest, and the VMM gets the exception.
    private static readonly string[] s_needed =
    [
        nameof(ITeeBackend.DefaultAccess), nameof(ITeeBackend.CreatePartition), nameof(ITeePartition.Execution),
        nameof(ITeePartition.Devices), nameof(IInterruptLine.Spi),
    ];

    private static readonly string[] s_asyncMethods =
    [
        nameof(ISavableTeePartition.RestoreAsync), nameof(ITeePartition.RegisterMemoryAsync),
        nameof(ITeePartition.UnregisterMemoryAsync), nameof(ITeeSession.CloseAsync),
        nameof(IAsyncDisposable.DisposeAsync),
    ];

    [Test]
    public async Task RestoreAsync_SuppliedMethodFailsAtEachOfItsCalls_NothingIsLeft(
        [Values] bool isResumed, [Values] TeeExecution execution)
    {
        byte[] state = await SaveAsync(execution);
        FailurePlan count = new();
        Assert.That(await RestoreAndEndAsync(state, count, execution, isResumed), Is.Null);
        Dictionary<string, int> methods = new(count.Calls);

        foreach ((string method, int calls) in methods)
        {
            foreach (Failure failure in s_asyncMethods.Contains(method) ? Enum.GetValues<Failure>() : [Failure.Throws])
            {
                for (int number = 1; number <= calls; number++)
                {
                    FailurePlan plan = new(method, number, failure);
                    Exception? exception = await RestoreAndEndAsync(state, plan, execution, isResumed);
                    Assert.That(
                        exception,
                        Is.Null.Or.TypeOf<OpTeeStateException>().Or.TypeOf(s_needed.Contains(method)
                            ? typeof(SuppliedPartException) : typeof(OpTeeStateException)),
                        $"{method}, call {number}, {failure}");
                }
            }
        }

        Assert.That(methods.Keys, Is.SupersetOf(s_asyncMethods.Append(nameof(IGuestMemory.TryPin)).Append(
            isResumed ? nameof(ISavableTeePartition.Commit) : nameof(ISavableTeePartition.Abandon))));
    }

    [TestCase(-1, "no list")]
    [TestCase(0, "restored 0")]
    [TestCase(1, "restored 1")]
    [TestCase(3, "restored 3")]
    public async Task RestoreAsync_BackendRestoresAnotherNumberOfSessions_IsRefusedAndThoseAreClosed(
        int sessions, string message)
    {
        byte[] state = await SaveAsync(TeeExecution.Inline);
        CountingBackend backend = new(sessions);
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(s_ram);

        Assert.That(
            () => OpTeeGuest.RestoreAsync(memory, backend, Options("count", new()), state, s_options),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains(message));

        int made = Math.Max(0, sessions);
        Assert.That(
            backend.Told,
            Is.EqualTo([nameof(ISavableTeePartition.Abandon), .. Enumerable.Repeat("Close", made), "End"]),
            "One session that cannot be closed keeps no other from it.");
    }

    [Test]
    public async Task ResetAsync_BeforeResume_TheVmRunsHere()
    {
        byte[] state = await SaveAsync(TeeExecution.Inline);
        CountingBackend backend = new(2);
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(s_ram);
        await using (OpTeeGuest guest = await OpTeeGuest.RestoreAsync(
            memory, backend, Options("count", new()), state, s_options))
        {
            Assert.That(backend.Told, Is.Empty);
            await guest.ResetAsync();
            guest.Resume();
            _ = await guest.PauseAsync();
            guest.Resume();
        }

        Assert.That(backend.Told, Is.EqualTo((string[])[nameof(ISavableTeePartition.Commit), "Close", "Close", "End"]));
    }

    // Two sessions, buffers, and held calls of each kind that changes them.
    private static async Task<byte[]> SaveAsync(TeeExecution execution)
    {
        FailurePlan plan = new();
        FailingBackend backend = new(plan, execution) { IsSavable = true };
        await using MovingVm vm = new(() => backend, Options("saved", plan));
        uint first = vm.Driver.OpenSession(GuestBench.Application).Session;
        uint second = vm.Driver.OpenSession(GuestBench.Application).Session;
        for (ulong cookie = Cookie; cookie < Cookie + 3; cookie++)
        {
            Assert.That(vm.Driver.Register(vm.Driver.AllocatePages(2, 2), 0, 8192, cookie).ReturnCode, Is.Zero);
        }

        ulong list = vm.Driver.WritePageList(vm.Driver.AllocatePages(2, 2));
        Assert.That(await vm.Guest.PauseAsync());
        _ = vm.Start(GuestBench.Invocation(first, FailingBackend.Return));
        _ = vm.Start(GuestBench.Closing(second));
        _ = vm.Start(GuestBench.Unregistering(Cookie + 1));
        _ = vm.Start(new GuestMessage(
            OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 8192, Cookie + 4)));
        return await vm.Guest.SaveAsync(s_options);
    }

    private static OpTeeGuestOptions Options(string name, FailurePlan plan) => new()
    {
        Name = name,
        Identity = MovingVm.Identity,
        NotificationInterrupt = new FailingInterruptLine(plan),
        LoggerFactory = new FailingLoggerFactory(plan),
    };

    private static async Task<Exception?> RestoreAndEndAsync(
        byte[] state, FailurePlan plan, TeeExecution execution, bool isResumed)
    {
        string name = $"fail{Interlocked.Increment(ref s_names)}";
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(s_ram);
        FailingBackend backend = new(plan, execution) { IsSavable = true };
        Exception? refusal = null;
        try
        {
            OpTeeGuest guest = await OpTeeGuest.RestoreAsync(
                new FailingGuestMemory(memory, plan), backend, Options(name, plan), state, s_options);
            if (isResumed)
            {
                guest.Resume();
            }

            await guest.DisposeAsync();
            Assert.That(guest.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        }
        catch (Exception exception) when (exception is not AssertionException)
        {
            refusal = exception;
        }

        bool isPinLost = plan.HasFailed && plan.Method == nameof(IGuestMemory.Unpin);
        Assert.That(memory.TryDiscard(s_ram), Is.Not.EqualTo(isPinLost), "No pin is left that the VMM did not lose.");
        Assert.That(backend.Violations, Is.Empty, $"{plan.Method}");
        Assert.That(backend.Live, Is.Zero, $"Partitions, sessions and buffers of the backend: {plan.Method}.");
        Assert.That(() => ThreadNames.Count($"optee {name}/"), Is.Zero.After(10_000, 1), "The threads end.");

        // The next one works, with the same memory unless the VMM has lost a page.
        if (!isPinLost)
        {
            plan.Disarm();
            await using OpTeeGuest next = await OpTeeGuest.RestoreAsync(
                new FailingGuestMemory(memory, plan), backend, Options(name, plan), state, s_options);
            next.Resume();
        }

        Assert.That(backend.Live, Is.Zero);
        return refusal;
    }

    /// <summary>Restores another number of sessions than was asked for, and cannot close them.</summary>
    private sealed class CountingBackend(int sessions) : ITeeBackend, ISavableTeePartition, ITeeSession
    {
        public List<string> Told { get; } = [];

        public TeeAccess DefaultAccess => TeeAccess.All;

        public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine) => this;

        public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request) => new(TeeResult.CommunicationFailure);

        public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) => new(TeeResult.CommunicationFailure);

        public bool CanSave(ITeeSession session) => false;

        public ValueTask<ReadOnlyMemory<byte>> SaveAsync(IReadOnlyList<ITeeSession> sessions) =>
            throw new NotSupportedException();

        public ValueTask<IReadOnlyList<ITeeSession?>> RestoreAsync(ReadOnlyMemory<byte> state, int count) =>
            new(sessions < 0 ? null! : [.. Enumerable.Repeat(this, sessions)]);

        public void Commit() => Told.Add(nameof(Commit));

        public void Abandon() => Told.Add(nameof(Abandon));

        public ValueTask CloseAsync(TeeRequest request)
        {
            Told.Add("Close");
            throw new InvalidOperationException("It cannot be closed.");
        }

        public ValueTask DisposeAsync()
        {
            Told.Add("End");
            return default;
        }
    }
}
