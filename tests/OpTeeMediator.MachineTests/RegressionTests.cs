using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Parity;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>The whole of xtest's regression suite: many minutes, so only with <c>tests/run --full</c>.</summary>
[TestFixture]
[OnlyInFullRuns]
internal sealed class RegressionTests() : GuestFixture(new GuestOptions { Tee = "linux", Cpus = 2 })
{
    [Test]
    public async Task Xtest_OfTheWholeSuite_FailsInTheGuestOnlyWhereExpected()
    {
        XtestRun run = await XtestRun.RunAsync(Guest.Console, TimeSpan.FromMinutes(30));

        TestContext.Out.WriteLine(run);
        Assert.That(run.Interruption, Is.Null);
        Assert.That(run.Failures.Except(ExpectedDifferences.Reasons.Keys), Is.Empty, run.ToString());
    }
}
