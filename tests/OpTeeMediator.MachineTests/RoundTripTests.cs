using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Measurements;

namespace OpTeeMediator.MachineTests;

/// <summary>How long a call of a trusted application takes in a guest, and on the host.</summary>
[TestFixture]
internal sealed class RoundTripTests : MachineFixture
{
    private const int Calls = 300;

    // Under emulation an exit from a guest to its VMM costs more than a call of the TEE, whoever handles it (the calls of the VMM's own TEE show how
    // much), so the aim of 1.3 is one for hardware. This is what a bug would exceed.
    private const double MostTimesTheHosts = 15;

    [Test]
    public async Task Calls_InAGuest_TakeLittleLongerThanOnTheHost()
    {
        RoundTripTimes host = RoundTripTimes.Read((await Machine.RunAsync($"{MachineFiles.Program("round-trips")} {Calls}")).Succeeded());
        RoundTripTimes linux = await MeasureAsync("linux", "");
        RoundTripTimes software = await MeasureAsync("software", "sum");
        host = host.Best(RoundTripTimes.Read((await Machine.RunAsync($"{MachineFiles.Program("round-trips")} {Calls}")).Succeeded()));

        string report = host.Beside("host", ("guest", linux), ("guest with the VMM's own TEE", software));
        TestContext.Out.WriteLine(report);
        Assert.That(linux.Ratio(host, "values"), Is.LessThan(MostTimesTheHosts), report);
    }

    private async Task<RoundTripTimes> MeasureAsync(string tee, string application)
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions { Tee = tee });
        return RoundTripTimes.Read((await guest.RunAsync($"{MachineFiles.Program("round-trips")} {Calls} {application}")).Succeeded());
    }
}
