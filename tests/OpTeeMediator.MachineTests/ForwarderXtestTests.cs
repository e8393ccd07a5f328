using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>xtest in a VM whose calls are forwarded to the real OP-TEE.</summary>
[TestFixture(1)]
[TestFixture(2)]
[Category(MachineFixture.Representative)]
internal sealed class ForwarderXtestTests(int cpus) : ForwarderFixture(new PartitionedMachineOptions { Cpus = cpus })
{
    // Short ones of every group that differs in what it asks of a mediator: sessions, panics, buffers (registered,
    // null, read-only, out of bounds), concurrency, cryptography, storage, large objects.
    private static readonly string[] Representatives =
        ["1001", "1002", "1004", "1005", "1006", "1007", "1012", "1016", "1017", "1018", "1022", "1025", "1032", "4001",
            "6001", "6018"];

    [Test]
    public async Task Driver_AtBoot_IsInitialized()
    {
        string log = (await Machine.RunAsync("dmesg; nproc")).Succeeded();

        string revision = (await MachinePackages.ReadAsync()).OpTeeRevision;
        Assert.That(log, Does.Match($@"optee: revision {revision}\D"));
        Assert.That(log, Does.Contain("optee: dynamic shared memory is enabled")
            .And.Contain("optee: initialized driver"));
        Assert.That(log, Does.EndWith($"\n{cpus}"));
    }

    [Test]
    public async Task Xtest_RepresentativeCases_Pass()
    {
        XtestRun run = await XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(4), Representatives);

        TestContext.Out.WriteLine(run);
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases.Select(one => one.Id), Is.EqualTo(Representatives));
        Assert.That(run.Interruption, Is.Null);
    }

    [Test]
    [OnlyInFullRuns]
    public async Task Xtest_WholeSuite_Passes()
    {
        XtestRun run = await XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(30));

        TestContext.Out.WriteLine(run);
        Assert.That(run.Interruption, Is.Null);
        Assert.That(run.Failures, Is.Empty, run.ToString());
    }
}
