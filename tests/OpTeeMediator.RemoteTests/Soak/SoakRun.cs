using System.Diagnostics;
using System.Globalization;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.StorageTests;

namespace OpTeeMediator.RemoteTests.Soak;

/// <summary>Mixed work of many VMs over a long time, after which the process holds what it held before.</summary>
/// <remarks>Several threads create VMs, use them and dispose of them: over the software TEE with storage, over backends
/// that throw, and over TEE servers with and without processes for VMs. Drivers start again, calls are cancelled, VMs
/// end with calls, processes of VMs are killed, and other clients of the servers send what they like.</remarks>
internal sealed class SoakRun : IAsyncDisposable
{
    /// <summary>The environment of the process that runs it; <c>tests/soak</c> has it too.</summary>
    /// <remarks>Code that is compiled once more while it runs takes more memory. What malloc keeps for each thread,
    /// it counts as given out, and threads of the pool that have no work keep what they have touched.</remarks>
    public static readonly Dictionary<string, string> Settings = new()
    {
        ["DOTNET_TieredCompilation"] = "0",
        ["DOTNET_ThreadPool_ThreadTimeoutMs"] = "1000",
        ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1",
    };

    private const int Threads = 3;
    private const int Steps = 40;
    private const int Kinds = 5;

    // Managed and native memory may grow by this part. 16 bytes of malloc for each VM of 30 minutes are more.
    private const double LargestGrowth = 0.02;

    // Of a short run, a third of the time is for code to be compiled and pools to be filled. That is too little for
    // figures of native memory; and of managed memory half a MiB more counts as nothing: the VMs that such a run
    // creates afterwards would need more.
    private const int WarmUpPart = 3;
    private const long ShortRunGrowth = 512 << 10;

    // A long run is measured twelve times. It is warm when two measures in a row differ by no more than 1 % in each
    // figure of memory, and after half of its time in any case.
    private const int LongRunParts = 12;
    private const double LargestDifference = 0.01;
    private static readonly TimeSpan LongRun = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(2);

    // Longer than a worker's thread without work exists.
    private const int LongRestSeconds = 12;
    private const int ShortRestSeconds = 3;

    private readonly string _folder = Directory.CreateTempSubdirectory("optee-soak").FullName;
    private readonly SoftwareTeeBackend _software;
    private readonly TeeServer _server;
    private readonly TeeServer _workerServer;
    private readonly List<SoakVm>[] _heldVms = [.. Enumerable.Range(0, Threads).Select(_ => new List<SoakVm>())];
    private readonly long[] _vms = new long[Kinds];
    private long _calls;

    public SoakRun()
    {
        _software = new SoftwareTeeBackend(new SoftwareTeeOptions
        {
            KeySource = new FixedKey(1),
            Storage = new TrustedStorageOptions(new SqliteTeeStore(Path.Combine(_folder, "objects.db"))),
        }.Add(new TrustedApplicationManifest(RemoteBench.Application), () => new SoakApplication()));
        _server = TeeServer.Start(
            ThrowingBackend.Create(TeeExecution.Worker), new TeeServerOptions { SocketPath = SocketPath("tee") });
        _workerServer = TeeServer.Start(new CommandBackend(), new TeeServerOptions
        {
            SocketPath = SocketPath("workers"),
            Workers = new TeeWorkerOptions { FileName = ServerProcess.ProgramPath, UserName = null },
        });
    }

    /// <summary>Works for some time.</summary>
    /// <returns>Whether nothing has grown.</returns>
    public async Task<bool> RunAsync(TimeSpan time, TextWriter log)
    {
        // What prints a line keeps descriptors (the console, assemblies), which are opened before they are counted.
        Print(SoakFigures.Measure(), log);
        bool isLong = time >= LongRun;
        if (isLong)
        {
            HoldVms();
        }

        TimeSpan part = time / (isLong ? LongRunParts : WarmUpPart);
        SoakFigures goal = new(int.MaxValue, int.MaxValue, int.MaxValue, Processes: 0, 0, 0, 0);
        SoakFigures before = await WorkAndMeasureAsync(part, goal, isLong, log);
        int parts = 1;
        if (isLong)
        {
            for (bool isWarm = false; !isWarm && parts < LongRunParts / 2; parts++)
            {
                SoakFigures next = await WorkAndMeasureAsync(part, goal, isLong, log);
                isWarm = next.DiffersBy(before) <= LargestDifference;
                before = next;
            }

            log.WriteLine($"warm after {parts} of {LongRunParts} parts");
        }

        // malloc has given out some 12 KiB for each thread of the pool: a long run waits for those that have no work.
        goal = isLong ? before : before with { PoolThreads = int.MaxValue };
        SoakFigures after = before;
        for (int all = isLong ? LongRunParts : WarmUpPart; parts < all; parts++)
        {
            after = await WorkAndMeasureAsync(part, goal, isLong, log);
        }

        log.WriteLine($"before: {before}");
        log.WriteLine($"after:  {after}");
        log.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{time.TotalMinutes:f1} minutes: {_calls} calls of {_vms.Sum()} VMs ({string.Join(", ", _vms)})"));
        return Check(before, after, isLong, log);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (SoakVm vm in _heldVms.SelectMany(vms => vms))
        {
            await vm.DisposeAsync();
        }

        await _server.DisposeAsync();
        await _workerServer.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    private static bool Check(SoakFigures before, SoakFigures after, bool isLong, TextWriter log)
    {
        bool isClean = true;
        void Require(bool holds, string what)
        {
            if (!holds)
            {
                log.WriteLine($"grown: {what}");
                isClean = false;
            }
        }

        Require(after.Threads <= before.Threads, "threads");
        Require(after.Descriptors <= before.Descriptors, "descriptors");
        Require(after.Processes <= before.Processes, "processes");
        Require(
            after.Managed <= (before.Managed * (1 + LargestGrowth)) + (isLong ? 0 : ShortRunGrowth), "managed memory");
        Require(!isLong || after.Native <= before.Native * (1 + LargestGrowth), "memory of malloc");
        Require(!isLong || after.Dirty <= before.Dirty * (1 + LargestGrowth), "private memory");
        return isClean;
    }

    private string SocketPath(string name) => Path.Combine(_folder, name);

    // VMs that exist the whole time, with a session each, as in a host that is in use; so 2 % is more than noise.
    private void HoldVms()
    {
        const int Software = 24;
        const int Throwing = 6;
        const int Remote = 2;
        for (int index = 0; index < Software + Throwing + Remote; index++)
        {
            (ITeeBackend backend, Guid identity, uint waiting) = index switch
            {
                < Software => ((ITeeBackend)_software, new Guid(1000 + index, 0, 0, new byte[8]), SoakApplication.Wait),
                < Software + Throwing => (ThrowingBackend.Create(TeeExecution.Inline), default, ThrowingBackend.Wait),
                _ => (new RemoteTeeBackend(SocketPath("tee")), default, ThrowingBackend.Wait),
            };
            SoakVm vm = new(backend, new Random(), identity, waiting);
            vm.OpenFirst();
            _heldVms[index % Threads].Add(vm);
        }
    }

    private async Task<SoakFigures> WorkAndMeasureAsync(TimeSpan time, SoakFigures goal, bool isLong, TextWriter log)
    {
        await WorkAsync(time);
        SoakFigures figures = await WaitForRestAsync(goal, isLong ? LongRestSeconds : ShortRestSeconds);
        Print(figures, log);
        return figures;
    }

    private void Print(SoakFigures figures, TextWriter log)
    {
        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{figures}; {_calls} calls of {_vms.Sum()} VMs"));
        log.Flush();
    }

    // What has ended is freed by threads that end: there is no event for it.
    private static async Task<SoakFigures> WaitForRestAsync(SoakFigures goal, int seconds)
    {
        Stopwatch watch = Stopwatch.StartNew();
        SoakFigures figures = SoakFigures.Measure();
        for (int same = 0; same < seconds && watch.Elapsed < LongestWait;)
        {
            await Task.Delay(TimeSpan.FromSeconds(1));
            SoakFigures next = SoakFigures.Measure();
            bool isSame = (next.Threads, next.Descriptors, next.Processes)
                == (figures.Threads, figures.Descriptors, figures.Processes);
            bool isAboveGoal = next.Threads > goal.Threads || next.Descriptors > goal.Descriptors
                || next.Processes > goal.Processes || next.PoolThreads > goal.PoolThreads;
            same = isSame && !isAboveGoal ? same + 1 : 0;
            figures = next;
        }

        return figures;
    }

    private async Task WorkAsync(TimeSpan time)
    {
        Stopwatch watch = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, Threads).Select(thread => Task.Run(async () =>
        {
            Random random = new();

            // Each thread does each kind once at least.
            for (int round = 0; round < Kinds || watch.Elapsed < time; round++)
            {
                int kind = (round + thread) % Kinds;
                _ = Interlocked.Increment(ref _vms[kind]);
                foreach (SoakVm held in _heldVms[thread])
                {
                    held.InvokeFirst();
                    _ = Interlocked.Increment(ref _calls);
                }

                _ = Interlocked.Add(ref _calls, await WorkAsync(kind, thread, random));
            }
        })));
    }

    private async Task<int> WorkAsync(int kind, int thread, Random random)
    {
        switch (kind)
        {
            case 0:
                Guid identity = new(thread + 1, (short)random.Next(4), 0, new byte[8]);
                return await UseAsync(_software, random, identity, SoakApplication.Wait);

            case 1:
                TeeExecution execution = random.Next(2) == 0 ? TeeExecution.Worker : TeeExecution.Inline;
                return await UseAsync(ThrowingBackend.Create(execution), random, default, ThrowingBackend.Wait);

            case 2:
                return await UseAsync(new RemoteTeeBackend(SocketPath("tee")), random, default, ThrowingBackend.Wait);

            case 3:
                return await UseWorkerAsync(random);

            default:
                return SendFrames(random);
        }
    }

    private static async Task<int> UseAsync(ITeeBackend backend, Random random, Guid identity, uint waiting)
    {
        await using SoakVm vm = new(backend, random, identity, waiting);
        await vm.WorkAsync(Steps);
        return vm.Calls;
    }

    // A VM with a process of its own, which is killed, or loops until its VM is gone.
    private async Task<int> UseWorkerAsync(Random random)
    {
        RemoteTeeOptions options = new()
        {
            SocketPath = SocketPath("workers"),
            HandshakeTimeout = TimeSpan.FromMinutes(2),
            TerminationDeadline = TimeSpan.FromSeconds(1),
        };
        await using RemoteVm vm = new(options, "worker");
        uint session = vm.Open();
        for (int step = 0; step < Steps; step++)
        {
            _ = vm.Invoke(session, random.Next(2) == 0 ? CommandBackend.Add : CommandBackend.Ask);
        }

        if (random.Next(3) == 0)
        {
            using Process worker =
                Process.GetProcessById((int)vm.Invoke(session, CommandBackend.Describe).Parameters[1].A);
            _ = vm.Start(session, CommandBackend.Loop);
            worker.Kill();
        }
        else if (random.Next(2) == 0)
        {
            _ = vm.Start(session, CommandBackend.Loop);
        }

        return Steps;
    }

    private int SendFrames(Random random)
    {
        const int Frames = 200;
        const ulong Length = 1 << 20;
        using Linux.Memory.MemfdGuestMemory memory =
            Linux.Memory.MemfdGuestMemory.Create(new OpTeeMediator.Memory.GuestRange(0x4000_0000, Length));
        using RawClient client = new(SocketPath("tee"), TimeSpan.FromMilliseconds(500));
        if (!client.TryGreet())
        {
            return 0;
        }

        FrameSource source = new(random, client, memory.Regions[0].File!, Length);
        while (source.Count < Frames && source.Send())
        {
        }

        return source.Results;
    }
}
