using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>Two VMs side by side.</summary>
[TestFixture]
internal sealed class TwoGuestsTests : MachineFixture
{
    // 1003 and 4xxx as a whole take minutes here.
    private static readonly string[] Cases = IsFull
        ? ["1001", "1002", "1003", "1004", "1005", "1006", "1007", "_4"]
        : ["1001", "1002", "1004", "1006", "1007", "4001", "4101"];

    [Test]
    public async Task Xtest_InBothAtTheSameTime_Passes()
    {
        await using Guest one = await Guest.StartAsync(Machine, 1, new GuestOptions { Cpus = 1 });
        await using Guest other = await Guest.StartAsync(Machine, 2, new GuestOptions { Cpus = 1 });

        XtestRun[] runs = await Task.WhenAll(
            XtestRun.RunAsync(one.Console, TimeSpan.FromMinutes(20), Cases),
            XtestRun.RunAsync(other.Console, TimeSpan.FromMinutes(20), Cases));

        foreach (XtestRun run in runs)
        {
            Assert.That(run.Failures, Is.Empty, run.ToString());
            Assert.That(run.Cases, Has.Count.GreaterThanOrEqualTo(Cases.Length));
            Assert.That(run.Interruption, Is.Null);
        }
    }
}
