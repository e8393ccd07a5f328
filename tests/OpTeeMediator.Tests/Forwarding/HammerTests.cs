using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Several vCPUs that register, use and unregister the same few cookies, with RPCs in between: nothing is lost, nothing used after its end.</summary>
internal sealed class HammerTests
{
    private const int Cpus = 4;
    private const int Rounds = 3000;
    private const ulong PagesOfCpu = 1 << 20;

    [Test]
    public async Task ManyCpus_WithTheSameCookies_LeaveNothing()
    {
        ForwarderBench bench = new();
        bench.OpTee.Threads = Cpus;
        bench.OpTee.Records = false;
        ForwardedVm vm = bench.Create();
        uint session = vm.Open();
        int unpinned = 0;
        bench.OpTee.OnInvoke = Use;

        await Task.WhenAll(Enumerable.Range(0, Cpus).Select(cpu => Task.Factory.StartNew(() => Run(vm, cpu, session), TaskCreationOptions.LongRunning)));

        Assert.That(unpinned, Is.Zero);
        Assert.That(vm.Status.CallsInFlight, Is.Zero);
        Assert.That(vm.Memory.Pins, Is.EqualTo(vm.Status.Buffers));
        Assert.That(vm.Partition.Memory, Has.Count.EqualTo(vm.Status.Buffers), "OP-TEE has what the forwarder has.");
        await vm.Forwarder.DisposeAsync();
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Status, Is.EqualTo(default(OpTeeGuestStatus)));

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

    private static void Run(ForwardedVm vm, int cpu, uint session)
    {
        Random random = new(cpu);
        FakeDriver driver = new(vm.Forwarder, vm.Memory, new GuestRange(ForwarderBench.GuestStart + ((ulong)(cpu + 2) * PagesOfCpu), PagesOfCpu));
        driver.OnRpc = new RpcServices(driver).Serve;
        ulong[] pages = driver.AllocatePages(3, 2);
        ulong list = driver.WritePageList(pages);
        for (int round = 0; round < Rounds; round++)
        {
            ulong cookie = (ulong)random.Next(1, 4);
            GuestMessage message = random.Next(3) switch
            {
                0 => new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 0x3000, cookie)),
                1 => new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, cookie)),
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
