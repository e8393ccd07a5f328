using Microsoft.Extensions.Logging;
using OpTeeMediator.Tests.Diagnostics;

namespace OpTeeMediator.Tests.Companion;

/// <summary>What an operator sees of a companion.</summary>
internal sealed class DiagnosticsTests
{
    private const int GuestServed = 2313;

    [Test]
    public async Task Start_OneInformationEntrySaysWhatTheVmMayReach()
    {
        await using CompanionBench bench = new(CompanionBench.Options() with { Name = "tiny", Cores = 2 });

        (LogLevel level, _, string message) = bench.Log.Entries.Single(entry => entry.EventId == GuestServed);

        Assert.That(level, Is.EqualTo(LogLevel.Information));
        Assert.That(message, Does.StartWith("tiny ").And.Contains("every application of its image")
            .And.Contains("2 vCPUs").And.EndsWith("Notifications: none."));
    }

    [Test]
    public async Task CallsInFlight_AreMeasuredUntilTheVmIsGone()
    {
        string name = TestContext.CurrentContext.Test.ID;
        using VmMeasurements measured = new(name);
        await using (CompanionBench bench = new(CompanionBench.Options() with { Name = name }))
        {
            Assert.That(measured.Observe("opteemediator.calls_in_flight"), Is.Zero);
            Assert.That(measured.Observe("opteemediator.sessions"), Is.Null, "Only OP-TEE knows them.");
        }

        Assert.That(measured.Observe("opteemediator.calls_in_flight"), Is.Null);
    }
}
