using OpTeeMediator.Forwarding;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Machines.Xtest;
using OpTeeMediator.Protocol;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.MachineTests;

/// <summary>A VM that gets OP-TEE's own interrupt for notifications, which the partitioned
/// machine passes through.</summary>
[TestFixture]
internal sealed class ForwarderNotificationTests() : ForwarderFixture(
    new PartitionedMachineOptions { Cpus = 2, NotificationSpi = OpTeeInterrupt - FirstSharedInterrupt })
{
    // CFG_CORE_ASYNC_NOTIF_GIC_INTID of OP-TEE's builds for qemu.
    private const int OpTeeInterrupt = 219;
    private const int FirstSharedInterrupt = 32;

    protected override OpTeeForwarderOptions Options =>
        base.Options with { NotificationInterrupt = new PassedThrough() };

    [Test]
    public async Task Driver_WithTheInterrupt_TakesNotificationsAndWorks()
    {
        string log = (await Machine.RunAsync("dmesg; grep -i optee /proc/interrupts")).Succeeded();
        XtestRun run = await XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(2), "1004", "1006", "1013");

        TestContext.Out.WriteLine(log.Split('\n')[^1]);
        Assert.That(log, Does.Contain("optee: Asynchronous notifications enabled")
            .And.Contain("optee: initialized driver"));
        Assert.That(Monitor!.Calls.Select(call => call.Made.X0),
            Has.Some.EqualTo((ulong)OpTeeSmc.EnableAsyncNotification));
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.EqualTo(3));
    }

    private sealed class PassedThrough : IInterruptLine
    {
        public int Spi => OpTeeInterrupt - FirstSharedInterrupt;

        public void Pulse()
        {
            // The hardware does.
        }
    }
}
