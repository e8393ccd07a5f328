using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>Boots a machine without EL3 once for the tests of a fixture: its guests have an OP-TEE of
/// their own beside them.</summary>
public abstract class CompanionFixture : MachineFixture
{
    /// <summary>What the fixtures test.</summary>
    internal const string Companions = "`OpTeeCompanion`";

    protected override string Subject => Companions;

    /// <summary>A guest with an OP-TEE of its own.</summary>
    protected static GuestOptions Companion { get; } = new() { Tee = "companion", Log = "information" };

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false };

    /// <summary>Starts a guest, and the supplicant in it.</summary>
    /// <param name="number">Its number on the machine.</param>
    /// <param name="options">How it is to be.</param>
    /// <returns>The guest.</returns>
    protected async Task<Guest> StartGuestAsync(int number, GuestOptions options)
    {
        Guest guest = await Guest.StartAsync(Machine, number, options);
        await StartSupplicantAsync(guest);
        return guest;
    }

    /// <summary>Starts the supplicant in a guest.</summary>
    /// <param name="guest">The guest.</param>
    /// <returns>A task.</returns>
    protected static async Task StartSupplicantAsync(Guest guest) =>
        (await guest.RunAsync("tee-supplicant -d")).Succeeded();

    /// <summary>Expects that cases pass.</summary>
    /// <param name="guest">Where.</param>
    /// <param name="cases">Their numbers.</param>
    /// <returns>A task.</returns>
    protected static async Task AssertThatXtestPassesAsync(Guest guest, params string[] cases)
    {
        XtestRun run = await XtestRun.RunAsync(guest.Console, TimeSpan.FromMinutes(8), cases);
        Assert.That(run.Interruption, Is.Null, run.ToString());
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.GreaterThanOrEqualTo(cases.Length), run.ToString());
    }

    /// <summary>Switches a guest off and prints what the VMM says of its OP-TEE.</summary>
    /// <param name="guest">The guest.</param>
    /// <returns>The VMM's messages.</returns>
    protected static async Task<string> ReportAsync(Guest guest)
    {
        CommandResult end = await guest.PowerOffAsync();
        TestContext.Out.WriteLine(end);
        return end.Succeeded();
    }
}
