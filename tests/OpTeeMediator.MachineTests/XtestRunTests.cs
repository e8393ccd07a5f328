using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>Reading xtest's output: needs no machine.</summary>
[TestFixture]
internal sealed class XtestRunTests
{
    private static readonly string[] Output =
    [
        "* regression_1020 Test lockdep algorithm",
        " - 1020 -   skip test, feature not implemented",
        "  regression_1020 OK",
        "* regression_1027 Session: user login for current user",
        "o regression_1027.1 A part",
        "regression_1000.c:1790: res has an unexpected value: 0xffff0001, expected 0x0",
        "  regression_1027.1 FAILED",
        "  regression_1027 FAILED",
        "* regression_4007_rsa Test TEE Internal API Generate RSA key",
    ];

    private static readonly string[] Ids = ["1020", "1027", "4007_rsa"];

    private static readonly XtestOutcome[] Outcomes =
        [XtestOutcome.Passed, XtestOutcome.Failed, XtestOutcome.Unfinished];

    [Test]
    public void Read_OutputOfAnInterruptedRun_FindsCasesAndTheirOutcome()
    {
        var run = XtestRun.Read(
            [.. Output.Select((text, second) => new OutputLine(TimeSpan.FromSeconds(second), text))], "too late");

        Assert.That(run.Interruption, Is.EqualTo("too late"));
        Assert.That(run.Cases.Select(one => one.Id), Is.EqualTo(Ids));
        Assert.That(run.Cases.Select(one => one.Outcome), Is.EqualTo(Outcomes));
        Assert.That(run.Cases[0].Skips, Has.One.EqualTo("1020 -   skip test, feature not implemented"));
        Assert.That(run.Cases[0].Duration, Is.EqualTo(TimeSpan.FromSeconds(2)));
        Assert.That(run.Cases[1].Errors, Has.Count.EqualTo(1));
    }
}
