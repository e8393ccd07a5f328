using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Measurements;

namespace OpTeeMediator.MachineTests;

/// <summary>Each register that a VMM reads or writes is a system call: how many a guest's calls need.</summary>
[TestFixture]
internal sealed class RegisterAccessTests : MachineFixture
{
    private const int RoundTrips = 500;

    // CALL_WITH_REGD_ARG: X1 and X2 are the cookie, X3 the offset. A resumed call needs X3 only; fast calls and an RPC's ALLOC more, but are few.
    private const double MostReads = 3.05;

    // X0, and X1–X3 if the call has been suspended.
    private const double MostWrites = 4.0;

    [TestCase("linux")]
    [TestCase("software")]
    public async Task SmcExit_OfATypicalGuest_AccessesOnlyTheRegistersItNeeds(string tee)
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions { Tee = tee, Log = "information" });
        string calls = tee == "linux" ? $"{MachineFiles.Program("round-trips")} {RoundTrips}" : "modprobe optee-rng && head -c 16384 /dev/hwrng | wc -c";
        (await guest.RunAsync(calls)).Succeeded();

        CommandResult end = await guest.PowerOffAsync();

        RegisterAccesses accesses = RegisterAccesses.Read(end.Succeeded());
        TestContext.Out.WriteLine(accesses);
        Assert.That(accesses.Calls, Is.GreaterThan(100));
        Assert.That(accesses.ReadsPerCall, Is.LessThanOrEqualTo(MostReads));
        Assert.That(accesses.WritesPerCall, Is.LessThanOrEqualTo(MostWrites));
    }
}
