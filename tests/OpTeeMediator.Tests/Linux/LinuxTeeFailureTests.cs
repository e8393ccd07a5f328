using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The host's TEE as a backend, over a driver that the tests provide. What the VMM supplies throws, and what
/// the host does not give.</summary>
[TestFixture]
internal sealed class LinuxTeeFailureTests : LinuxTeeFixture
{
    [Test]
    public async Task RegisterMemory_GuestMemoryThrows_BudgetIsReturned()
    {
        const int Limit = 4;
        LinuxTeePartition partition =
            CreatePartition(new LinuxTeeOptions { MaximumRegistrations = Limit }, TeeAccess.All);
        for (int index = 0; index < Limit; index++)
        {
            // The host address first, before anything is taken; then the granule, and a file for each piece.
            FailingSharedMemory buffer =
                new(Buffer(Memory, 0, 2 * Page, Start + (9 * Page), Start + (2 * Page)), new FailurePoint(failing: 4));
            Assert.That(() => partition.RegisterMemoryAsync(buffer), Throws.InstanceOf<IOException>());
        }

        Assert.That(await partition.RegisterMemoryAsync(Buffer(Memory, 0, Page, Start)),
            Is.EqualTo(TeeReturnCode.Success));
        await partition.DisposeAsync();
    }

    [Test]
    [NonParallelizable]
    public void RegisterMemory_GuestMemoryThrowsWhileItIsMapped_AddressSpaceIsReturned()
    {
        const int Rounds = 200;
        const int Pages = 64;
        ulong[] scattered = [.. Enumerable.Range(0, Pages).Select(index => Start + (ulong)(2 * index) * Page)];
        long before = ReservedKibibytes();
        for (int round = 0; round < Rounds; round++)
        {
            FailingSharedMemory buffer = new(Buffer(Memory, 0, Pages * Page, scattered), new FailurePoint(failing: 4));
            Assert.That(() => Partition.RegisterMemoryAsync(buffer), Throws.InstanceOf<IOException>());
        }

        // Counts the whole process: a fifth of what would be left behind is allowed to others.
        Assert.That(ReservedKibibytes() - before, Is.LessThan(Rounds * Pages * (long)Page / 1024 / 5));
    }

    [Test]
    public void CreatePartition_ThreadCannotBeStarted_FailsAndClosesTheDevice()
    {
        using LinuxTeeBackend backend = new(new LinuxTeeOptions(), _ => Device,
            _ => throw new ThreadStateException("no thread"), Environment.SystemPageSize);

        Assert.That(() => backend.CreatePartition(VirtualMachine(TeeAccess.All)),
            Throws.InstanceOf<ThreadStateException>());
        Assert.That(Device.IsDisposed, Is.True);
    }

    [Test]
    public async Task Cancel_ManyTimes_StartsNoThread()
    {
        int started = 0;
        using LinuxTeeBackend backend = new(new LinuxTeeOptions(), _ => Device, Start, Environment.SystemPageSize);
        ITeePartition partition = backend.CreatePartition(VirtualMachine(TeeAccess.All));
        int startedWithTheVm = started;
        using SemaphoreSlim cancelled = new(0);
        Device.OnInvoke = (ref _) => Assert.That(cancelled.Wait(TimeSpan.FromSeconds(10)), Is.True);
        Device.OnCancel = (_, _) => cancelled.Release();
        TeeRequest opening = OpenRequest(TeeLogin.Public);
        _ = await partition.OpenSessionAsync(opening);
        for (int index = 0; index < 3; index++)
        {
            TeeRequest request = new() { Operation = TeeOperation.InvokeCommand, Session = opening.Session };
            Task running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
            while (!running.IsCompleted)
            {
                partition.Cancel(request);
                _ = Thread.Yield();
            }

            await running;
        }

        await partition.DisposeAsync();
        Assert.That((startedWithTheVm, started), Is.EqualTo((1, 1)));

        void Start(Thread thread)
        {
            started++;
            thread.Start();
        }
    }

    [Test]
    public async Task Cancel_DeviceThrows_LaterCancellationsWork()
    {
        int attempts = 0;
        using ManualResetEventSlim thrown = new();
        using ManualResetEventSlim heard = new();
        Device.OnCancel = (_, _) =>
        {
            if (Interlocked.Increment(ref attempts) == 1)
            {
                thrown.Set();
                throw new IOException("The device is gone.");
            }

            heard.Set();
        };
        using ManualResetEventSlim inside = new();
        Device.OnInvoke = (ref _) =>
        {
            inside.Set();
            Assert.That(heard.Wait(TimeSpan.FromSeconds(10)), Is.True);
        };
        TeeRequest request = await RequestAsync(1);
        Task<TeeResult> running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
        Assert.That(inside.Wait(TimeSpan.FromSeconds(10)), Is.True);

        Partition.Cancel(request);
        Assert.That(thrown.Wait(TimeSpan.FromSeconds(10)), Is.True);
        Partition.Cancel(request);

        Assert.That((await running).IsSuccess, Is.True);
        Assert.That(Log.EventIds.Count(id => id == 2210), Is.EqualTo(1));
    }

    [Test]
    public async Task InvokeCommand_HostFailsAgainAndAgain_IsLoggedOnce()
    {
        TeeRequest request = await RequestAsync(1);
        Device.InvokeError = Errno.EIO;
        for (int call = 0; call < 100; call++)
        {
            Assert.That((await request.Session!.InvokeCommandAsync(request)).Code,
                Is.EqualTo(TeeReturnCode.Communication));
        }

        Assert.That(Log.EventIds.Count(id => id == 2208), Is.EqualTo(1));
    }

    [TestCase(0x1000, 16)]
    [TestCase(0x4000, 4)]
    [TestCase(0x1_0000, 1)]
    public async Task RegisterMemory_HostHasLargerPages_BudgetCountsThem(int pageSize, int expected)
    {
        const int Budget = 0x1_0000;
        using LinuxTeeBackend backend =
            new(new LinuxTeeOptions { MaximumSharedBytes = Budget }, _ => Device, thread => thread.Start(), pageSize);
        ITeePartition partition = backend.CreatePartition(VirtualMachine(TeeAccess.All));
        int accepted = 0;
        for (int index = 0; index < 2 * Budget / (int)Page; index++)
        {
            // Copied, so that the buffer begins with a page of the host.
            SharedBuffer buffer = Buffer(new CopyOnlyGuestMemory(Memory), 0, Page, Start);
            accepted += await partition.RegisterMemoryAsync(buffer) == TeeReturnCode.Success ? 1 : 0;
        }

        await partition.DisposeAsync();
        Assert.That(accepted, Is.EqualTo(expected));
    }

    [Test]
    public void Conversation_GuestMemoryThrowsAtEachCall_LeavesNothingBehind() =>
        FailAtEachCall(
            (point, options) => Converse(Device, buffer => new FailingSharedMemory(buffer, point), Log, options));

    [Test]
    public void Conversation_DeviceThrowsAtEachCall_LeavesNothingBehind() =>
        FailAtEachCall((point, options) =>
            Converse(new FailingTeeDevice(Device, point), buffer => buffer, Log, options), isCloseSafe: false);

    [Test]
    public void Conversation_LoggerThrowsAtEachCall_LeavesNothingBehind() =>
        FailAtEachCall((point, options) =>
        {
            ListLoggerFactory log = new() { OnMessage = point.Pass };
            return Converse(Device, buffer => buffer, log, options);
        });

    private static long ReservedKibibytes() =>
        long.Parse(File.ReadLines("/proc/self/status")
            .First(line => line.StartsWith("VmSize", StringComparison.Ordinal)).Where(char.IsDigit).ToArray());

    /// <summary>Lets the same conversation fail at its first call of what the VMM supplies, then at its
    /// second, to its last.</summary>
    /// <param name="converse">The conversation.</param>
    /// <param name="isCloseSafe">Whether each session that is opened can be closed, because the
    /// device does not throw.</param>
    private void FailAtEachCall(Func<FailurePoint, LinuxTeeOptions, Task> converse, bool isCloseSafe = true)
    {
        const int LongEnough = 1000;
        int failing = 0;
        FailurePoint point;
        do
        {
            CreateDevice();
            point = new FailurePoint(++failing);
            Assert.That(converse(point, new LinuxTeeOptions()).Wait(TimeSpan.FromSeconds(30)), Is.True,
                $"call {failing} throws");
            Assert.That((Device.LiveRegistrations, Device.IsDisposed), Is.EqualTo((0, true)), $"call {failing} throws");
            Assert.That(Log.EventIds, Does.Not.Contain(2209), $"call {failing} throws");
            if (point.HasThrown && isCloseSafe)
            {
                Assert.That(Device.Closings, Has.Count.EqualTo(
                    Device.Openings.Count(opening => !IsEnumeration(opening))), $"call {failing} throws");
            }
        }
        while (point.HasThrown && failing < LongEnough);

        Assert.That(failing, Is.InRange(5, LongEnough - 1), "calls of what the VMM supplies");
    }

    /// <summary>What a mediator does with a partition; an exception ends an operation, and the next one is
    /// made all the same.</summary>
    [SuppressMessage("Design", "CA1031:Do not catch general exception types", Justification = "As the mediator does.")]
    private async Task Converse(
        ITeeDevice device, Func<TeeSharedMemory, TeeSharedMemory> wrap, ListLoggerFactory log, LinuxTeeOptions options)
    {
        using LinuxTeeBackend backend = new(options, _ => device);
        ITeePartition partition;
        try
        {
            partition = backend.CreatePartition(VirtualMachine(TeeAccess.All) with { LoggerFactory = log });
        }
        catch (IOException)
        {
            return;
        }

        TeeSharedMemory contiguous = wrap(Buffer(Memory, 0x10, Page, Start, Start + Page));
        TeeSharedMemory scattered = wrap(Buffer(Memory, 0, 2 * Page, Start + (9 * Page), Start + (2 * Page)));
        TeeSharedMemory temporary = wrap(Buffer(new CopyOnlyGuestMemory(Memory), 0, Page, Start + (4 * Page)));
        TeeRequest opening = OpenRequest(TeeLogin.Public);
        opening.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInOut, temporary, 0, 0x20);
        await Try(() => partition.OpenSessionAsync(opening).AsTask());
        await Try(() => partition.RegisterMemoryAsync(contiguous).AsTask());
        await Try(() => partition.RegisterMemoryAsync(scattered).AsTask());
        if (opening.Session is { } session)
        {
            Device.OnInvoke = (ref argument) =>
            {
                argument.Parameters[1].B = 0x10;
                _ = SpinWait.SpinUntil(() => !Device.Cancellations.IsEmpty, TimeSpan.FromMilliseconds(20));
            };
            TeeRequest request = new() { Operation = TeeOperation.InvokeCommand, Session = session };
            request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInput, contiguous, 0, 0x40);
            request.WritableParameters[1] = TeeParameter.Reference(TeeParameterKind.MemoryInOut, temporary, 0x8, 0x40);
            request.WritableParameters[2] =
                TeeParameter.Reference(TeeParameterKind.MemoryOutput, scattered, Page - 8, 0x10);
            Task running = Try(() => Task.Run(() => session.InvokeCommandAsync(request).AsTask()));
            await Try(() =>
            {
                partition.Cancel(request);
                return Task.CompletedTask;
            });
            await running;
            await Try(() => session.CloseAsync().AsTask());
        }

        await Try(() => partition.UnregisterMemoryAsync(scattered).AsTask());
        await Try(() => partition.UnregisterMemoryAsync(contiguous).AsTask());
        await Try(() => partition.DisposeAsync().AsTask());

        static async Task Try(Func<Task> operation)
        {
            try
            {
                await operation();
            }
            catch (IOException)
            {
            }
        }
    }
}
