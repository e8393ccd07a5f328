using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Several vCPUs that register, use and unregister the same few cookies, with RPCs in between: nothing is
/// lost, nothing used after its end.</summary>
internal sealed class HammerTests
{
    private const int Cpus = 4;
    private const int Rounds = 3000;
    private const int RpcRounds = 1000;
    private const ulong PagesOfCpu = 1 << 20;

    [Test]
    public async Task ManyCpus_WithTheSameCookies_LeaveNothing()
    {
        ForwarderBench bench = new(threads: Cpus);
        bench.OpTee.Records = false;
        ForwardedVm vm = bench.Create();
        uint session = vm.Open();
        int unpinned = 0;
        bench.OpTee.OnInvoke = Use;

        await Task.WhenAll(Enumerable.Range(0, Cpus)
            .Select(cpu => Task.Factory.StartNew(() => Run(vm, cpu, session), TaskCreationOptions.LongRunning)));

        Assert.That(unpinned, Is.Zero);
        Assert.That(vm.Status.CallsInFlight, Is.Zero);
        Assert.That(vm.Memory.Pins, Is.EqualTo(vm.Status.Buffers));
        Assert.That(vm.Partition.Memory, Has.Count.EqualTo(vm.Status.Buffers), "OP-TEE has what the forwarder has.");
        await vm.Forwarder.DisposeAsync();
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));

        IEnumerable<RpcStep> Use(FakeThread thread)
        {
            // What OP-TEE finds by a cookie that came through must be pinned.
            if (thread.Partition.Find(thread.Parameters[0].C) is { } pages && !vm.Memory.ArePinned(pages))
            {
                unpinned++;
            }

            return thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        }
    }

    [Test]
    public async Task ManyCpus_WithTheSameCookiesForRpcMemory_LeaveNothing()
    {
        ForwarderBench bench = new(threads: Cpus);
        bench.OpTee.Records = false;
        ForwardedVm vm = bench.Create();
        uint session = vm.Open();
        int wrong = 0;
        bench.OpTee.OnInvoke = Use;

        await Task.WhenAll(Enumerable.Range(0, Cpus)
            .Select(cpu => Task.Factory.StartNew(() => RunRpcs(vm, cpu, session), TaskCreationOptions.LongRunning)));

        Assert.That(wrong, Is.Zero, "Each thread finds its own memory, pinned.");
        Assert.That(vm.Status, Is.EqualTo(new OpTeeGuestStatus(0, 1, vm.Status.Buffers, vm.Status.SharedPages)));
        Assert.That(vm.Memory.Pins, Is.EqualTo(vm.Status.Buffers));
        Assert.That(vm.Partition.Memory, Has.Count.EqualTo(vm.Status.Buffers), "OP-TEE has what the forwarder has.");
        Assert.That(vm.Partition.Memory.Select(memory => memory.Cookie), Is.Unique);
        await vm.Forwarder.DisposeAsync();
        Assert.That(vm.Memory.Pins, Is.Zero);

        IEnumerable<RpcStep> Use(FakeThread thread)
        {
            ulong cpu = thread.Parameters[0].A;
            HashSet<ulong> before = [.. thread.Partition.Memory.Select(memory => memory.Cookie)];
            foreach (RpcStep step in thread.Allocate(0x1000))
            {
                yield return step;
            }

            ulong cookie = thread.RpcResults[0].C;
            ulong[]? pages = thread.Partition.Find(cookie);
            wrong += pages is not null && !before.Contains(cookie) && vm.Memory.ArePinned(pages)
                && IsOf(vm, cpu, pages[0]) ? 0 : 1;
            foreach (RpcStep step in thread.Free(cookie))
            {
                yield return step;
            }
        }
    }

    [Test]
    public async Task ManyCpus_WhileTheVmIsPausedAgainAndAgain_AreNotInOpTeeThenAndLoseNothing()
    {
        int smcs = 0;
        ForwarderBench bench = new(threads: Cpus);
        bench.OpTee.Records = false;
        bench.OpTee.InterruptsCalls = true;
        ForwardedVm vm =
            bench.Create(options: new OpTeeForwarderOptions { ShutdownDeadline = TimeSpan.FromMinutes(1) });
        uint session = vm.Open();
        bench.OpTee.OnCall = _ => Interlocked.Increment(ref smcs);

        Task cpus = Task.WhenAll(Enumerable.Range(0, Cpus)
            .Select(cpu => Task.Factory.StartNew(() => Run(vm, cpu, session), TaskCreationOptions.LongRunning)));
        List<(bool IsPaused, int Entered)> pauses = [];
        while (!cpus.IsCompleted && pauses.Count < 100)
        {
            bool isPaused = await vm.Forwarder.PauseAsync();
            int before = Volatile.Read(ref smcs);
            await Task.Delay(1);
            pauses.Add((isPaused, Volatile.Read(ref smcs) - before));
            vm.Forwarder.Resume();
            await Task.Delay(1);
        }

        await cpus;

        Assert.That(pauses, Is.Not.Empty.And.All.EqualTo((true, 0)));
        Assert.That(vm.Status.CallsInFlight, Is.Zero);
        Assert.That(vm.Partition.Memory, Has.Count.EqualTo(vm.Status.Buffers), "OP-TEE has what the forwarder has.");
        await vm.Forwarder.DisposeAsync();
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    [Test]
    public async Task ManyCpus_WhileADriverStartsAgainAndAgain_LeaveNothing()
    {
        ForwarderBench bench = new(threads: Cpus);
        bench.OpTee.Records = false;
        ForwardedVm vm =
            bench.Create(options: new OpTeeForwarderOptions { ShutdownDeadline = TimeSpan.FromMinutes(1) });
        int unpinned = 0;
        bench.OpTee.OnInvoke = Use;
        using CancellationTokenSource end = new();
        Task[] cpus = [.. Enumerable.Range(0, Cpus)
            .Select(cpu => Task.Factory.StartNew(() => RunUntil(vm, cpu, end.Token), TaskCreationOptions.LongRunning))];

        int restarts = 0;
        for (int attempt = 0; attempt < 2000; attempt++)
        {
            restarts += vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0 == OpTeeSmc.ReturnOk ? 1 : 0;
        }

        await end.CancelAsync();
        await Task.WhenAll(cpus);

        Assert.That(restarts, Is.Positive);
        Assert.That(unpinned, Is.Zero);
        for (int attempt = 0; attempt < 1000 && vm.Status != OpTeeGuestStatus.Nothing; attempt++)
        {
            // A cleanup goes on with each attempt.
            _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        }

        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Partition.Memory, Is.Empty);
        Assert.That(vm.Partition.Sessions, Is.Empty);
        Assert.That(vm.Forwarder.FreeShadowPages, Is.EqualTo(new OpTeeForwarderOptions().ShadowPages - Cpus));

        IEnumerable<RpcStep> Use(FakeThread thread)
        {
            if (thread.Partition.Find(thread.Parameters[0].C) is { } pages && !vm.Memory.ArePinned(pages))
            {
                unpinned++;
            }

            yield return RpcStep.ForeignInterrupt;
            foreach (RpcStep step in thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut()))
            {
                yield return step;
            }
        }
    }

    private static bool IsOf(ForwardedVm vm, ulong cpu, ulong page)
    {
        ulong first = ForwarderBench.GuestStart + ((cpu + 2) * PagesOfCpu);
        for (ulong address = first; address < first + PagesOfCpu; address += OpTeeMessage.PageSize)
        {
            if (vm.Memory.PhysicalOf(address) == page)
            {
                return true;
            }
        }

        return false;
    }

    private static void RunRpcs(ForwardedVm vm, int cpu, uint session)
    {
        // All CPUs answer with cookie 1, which names a registered buffer as well, half of the time.
        FakeDriver driver = new(vm.Forwarder, vm.Memory,
            new GuestRange(ForwarderBench.GuestStart + ((ulong)(cpu + 2) * PagesOfCpu), PagesOfCpu))
        {
            RpcCookie = 1,
            Conduit = cpu % 2 == 0 ? OpTeeSmc.CallWithRpcArgument : OpTeeSmc.CallWithArgument,
        };
        ulong[] pages = driver.AllocatePages(3, 1);
        ulong list = driver.WritePageList([pages[0]]);
        ulong payload = driver.WritePageList([pages[1]]);
        driver.OnRpc = message => message.Command == OpTeeRpc.AllocateSharedMemory
            ? message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(payload, 0x1000, 1)] }
            : message with { ReturnCode = message.Parameters[0].B == 1 ? 0u
                : throw new InvalidOperationException($"Cookie {message.Parameters[0].B:x} was freed.") };
        int calls = 0;
        for (int round = 0; round < RpcRounds; round++)
        {
            _ = driver.TrySend(
                new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 0x1000, 1)));
            calls += driver.TrySend(
                ForwardedVm.Invocation(session, GuestParameter.ValueIn((ulong)cpu, 0))) == OpTeeSmc.ReturnOk ? 1 : 0;
            _ = driver.TrySend(
                new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, 1)));
        }

        if (calls == 0)
        {
            throw new InvalidOperationException("No call was served.");
        }
    }

    private static void RunUntil(ForwardedVm vm, int cpu, CancellationToken end)
    {
        ulong start = ForwarderBench.GuestStart + ((ulong)(cpu + 2) * PagesOfCpu);
        Random random = new(cpu);
        FakeDriver driver = new(vm.Forwarder, vm.Memory, new GuestRange(start, PagesOfCpu)) { RpcCookie = 1 };
        driver.OnRpc = new RpcServices(driver).Serve;
        ulong[] pages = driver.AllocatePages(3, 2);
        ulong list = driver.WritePageList(pages);
        uint session = 0;
        while (!end.IsCancellationRequested)
        {
            ulong cookie = (ulong)random.Next(1, 4);
            GuestMessage message = random.Next(4) switch
            {
                0 => new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                    GuestParameter.PageList(list, 0x3000, cookie)),
                1 => new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory,
                    GuestParameter.RegisteredIn(0, 0, cookie)),
                2 => FakeDriver.Opening(ForwarderBench.Application, default, 0),
                _ => ForwardedVm.Invocation(session, GuestParameter.RegisteredInOut(0, 8, cookie)),
            };
            if (driver.TrySend(message) == OpTeeSmc.ReturnOk && message.Command == OpTeeMessage.CommandOpenSession)
            {
                session = driver.ReadMessage(driver.MessagePage, 2).Session;
            }
        }
    }

    private static void Run(ForwardedVm vm, int cpu, uint session)
    {
        Random random = new(cpu);
        FakeDriver driver = new(vm.Forwarder, vm.Memory,
            new GuestRange(ForwarderBench.GuestStart + ((ulong)(cpu + 2) * PagesOfCpu), PagesOfCpu));
        driver.OnRpc = new RpcServices(driver).Serve;
        ulong[] pages = driver.AllocatePages(3, 2);
        ulong list = driver.WritePageList(pages);
        for (int round = 0; round < Rounds; round++)
        {
            ulong cookie = (ulong)random.Next(1, 4);
            GuestMessage message = random.Next(3) switch
            {
                0 => new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                    GuestParameter.PageList(list, 0x3000, cookie)),
                1 => new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory,
                    GuestParameter.RegisteredIn(0, 0, cookie)),
                _ => ForwardedVm.Invocation(session, GuestParameter.RegisteredInOut(0, 8, cookie)),
            };
            uint answer = driver.TrySend(message);
            if (answer is not (OpTeeSmc.ReturnOk or OpTeeSmc.ReturnThreadLimit))
            {
                throw new InvalidOperationException($"Answered {answer} to {message}.");
            }
        }
    }
}
