using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>What is left of an instance that is kept alive when the VM is reset.</summary>
internal sealed class VmResetTests
{
    [Test]
    public async Task ResetAsync_InstanceKeptAlive_IsDestroyedAndANewOneIsCreated()
    {
        await using GuestCallBench bench = Create(out List<ScriptedApplication> instances);
        _ = bench.Driver.CloseSession(bench.Session);

        await bench.Guest.ResetAsync();
        _ = bench.Open(SoftwareTeeBench.KeepAlive.Uuid);

        Assert.That(instances, Has.Count.EqualTo(2));
        Assert.That(instances[0].Journal, Is.EqualTo(["Create", "OpenSession", "CloseSession", "Destroy"]));
    }

    [Test]
    public async Task ResetAsync_SessionOpen_SessionIsClosedAndInstanceIsDestroyed()
    {
        await using GuestCallBench bench = Create(out List<ScriptedApplication> instances);

        await bench.Guest.ResetAsync();

        Assert.That(instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "CloseSession", "Destroy"]));
    }

    [Test]
    public async Task ResetAsync_InstanceHandlesItItself_Stays()
    {
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.KeepAlive, application => application.WhenReset = () => true);
        await (await bench.OpenAsync()).CloseAsync();

        await bench.Partition.ResetAsync();
        await (await bench.OpenAsync()).CloseAsync();

        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(
            ["Create", "OpenSession", "CloseSession", "VirtualMachineReset", "OpenSession", "CloseSession"]));
    }

    [Test]
    public async Task ResetAsync_InstanceThrows_IsAPanicAndANewOneIsCreated()
    {
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.KeepAlive,
            application => application.WhenReset = () => throw new InvalidOperationException());
        await (await bench.OpenAsync()).CloseAsync();

        await bench.Partition.ResetAsync();
        _ = await bench.OpenAsync();

        Assert.That(bench.Instances, Has.Count.EqualTo(2));
        Assert.That(bench.Instances[0].Journal, Does.Not.Contain("Destroy"));
        Assert.That(bench.Loggers.Entries.Single().Message, Does.Contain("VirtualMachineReset"));
    }

    [Test]
    public async Task ExchangeCapabilities_InstanceKeptAlive_IsKept()
    {
        await using GuestCallBench bench = Create(out List<ScriptedApplication> instances);

        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        _ = bench.Open(SoftwareTeeBench.KeepAlive.Uuid);

        Assert.That(instances.Single().Journal, Does.Not.Contain("Destroy"));
    }

    [Test]
    public async Task ResetAsync_SessionOfALaterDriverOpen_InstanceEndsWithIt()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.KeepAlive);
        ITeeSession session = await bench.OpenAsync();

        await bench.Partition.ResetAsync();
        List<string> before = [.. bench.Instances.Single().Journal];
        await session.CloseAsync();
        _ = await bench.OpenAsync();

        Assert.That(before, Is.EqualTo(["Create", "OpenSession"]));
        Assert.That(bench.Instances, Has.Count.EqualTo(2));
        Assert.That(bench.Instances[0].Journal, Is.EqualTo(["Create", "OpenSession", "CloseSession", "Destroy"]));
    }

    [Test]
    public async Task ResetAsync_CloseSessionAsksTheGuest_IsToldThatTheGuestIsGone()
    {
        TeeReturnCode code = TeeReturnCode.Success;
        bool hasBuffer = true;
        await using GuestCallBench bench = Create(out List<ScriptedApplication> instances);
        instances.Single().WhenClosed = call =>
        {
            code = call.Guest.GetTime(out _);
            hasBuffer = call.Guest.Allocate(GuestMemoryKind.Kernel, 1) is not null;
        };

        await bench.Guest.ResetAsync();

        Assert.That((code, hasBuffer), Is.EqualTo((TeeReturnCode.Communication, false)));
        Assert.That(bench.Panics, Is.Empty);
    }

    private static GuestCallBench Create(out List<ScriptedApplication> instances)
    {
        List<ScriptedApplication> made = instances = [];
        return new GuestCallBench(SoftwareTeeBench.KeepAlive, _ => new(TeeReturnCode.Success), create: () =>
        {
            made.Add(new ScriptedApplication());
            return made[^1];
        });
    }
}
