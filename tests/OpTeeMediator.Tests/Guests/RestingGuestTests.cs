using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Guests;

/// <summary>What a VM costs that makes no calls.</summary>
[NonParallelizable]
internal sealed class RestingGuestTests
{
    private const int Kibibyte = 1 << 10;

    private static readonly GuestRange Ram = new(0x4000_0000, 1 << 20);

    [Test]
    public async Task Constructor_BackendWithWorkers_AllocatesAtMost20KibibytesAndStartsNoThread()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Ram);
        ScriptedBackend backend = new() { Execution = TeeExecution.Worker };
        await new OpTeeGuest(memory, backend, new OpTeeGuestOptions { Name = "first" }).DisposeAsync();
        OpTeeGuestOptions options = new() { Name = "rest" };

        long before = GC.GetAllocatedBytesForCurrentThread();
        OpTeeGuest guest = new(memory, backend, options);
        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;

        Assert.That(bytes, Is.LessThanOrEqualTo(20 * Kibibyte));
        Assert.That(ThreadNames.Count("optee rest/"), Is.Zero);
        await guest.DisposeAsync();
        Assert.That(() => ThreadNames.Count("optee rest/"), Is.Zero.After(10_000, 1));
    }

    [Test]
    public async Task Invoke_OnAWorker_StartsOneThread()
    {
        ScriptedBackend backend = new() { Execution = TeeExecution.Worker, OnInvoke = _ => new(TeeResult.Success) };
        await using GuestBench bench = new(new OpTeeGuestOptions { Name = "one" }, backend);

        uint session = bench.Driver.OpenSession(GuestBench.Application).Session;
        for (int call = 0; call < 100; call++)
        {
            Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo((uint)TeeReturnCode.Success));
        }

        Assert.That(ThreadNames.Count("optee one/"), Is.EqualTo(1));
    }
}
