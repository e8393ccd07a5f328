using System.Globalization;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Measurements;

namespace OpTeeMediator.MachineTests;

/// <summary>A guest with a single vCPU whose TEE is in the VMM's process: applications that answer at once, that call
/// their guest, that take long.</summary>
[TestFixture]
[Category(MachineFixture.Representative)]
internal sealed class SoftwareTeeTests() : GuestFixture(new GuestOptions { Tee = "software", Cpus = 1 })
{
    private const string Driver = "/sys/bus/platform/drivers/optee";
    private const string StartSupplicant = "tee-supplicant -d";
    private const string StopSupplicant =
        "killall -q tee-supplicant; while pidof tee-supplicant > /dev/null; do sleep 0.1; done";

    // Where Debian's tee-supplicant keeps its files.
    private const string Files = "/var/lib/optee-client/data/tee";

    private static readonly string Client = MachineFiles.Program("guest-calls");
    private static readonly string OtherClient = MachineFiles.Program("sum");

    protected override string Subject => "`SoftwareTeeBackend`";

    [TearDown]
    public async Task StopTheSupplicant() => (await Guest.RunAsync(StopSupplicant)).Succeeded();

    [Test]
    public async Task Driver_AtBoot_IsInitializedWithNotifications() =>
        Assert.That((await Guest.RunAsync("dmesg | grep optee")).Succeeded(), Does.Contain("optee: initialized driver")
            .And.Contain("optee: Asynchronous notifications enabled"));

    [Test]
    public async Task HardwareRandomNumberGenerator_Read_GivesBytes()
    {
        string script =
            "modprobe optee-rng && dd if=/dev/hwrng bs=64 count=4 2> /dev/null | od -A n -t x1 -v | tr -d ' \\n'";

        string bytes = (await Guest.RunAsync(script)).Succeeded();

        Assert.That(bytes, Has.Length.EqualTo(2 * 256), "hexadecimal digits");
        Assert.That(bytes.Distinct().Count(), Is.EqualTo(16), "different digits");
    }

    [Test]
    public async Task Application_OfTheSample_IsReachedByLibteec() =>
        Assert.That((await Guest.RunAsync($"{OtherClient} 40 2 echo")).Succeeded(), Is.EqualTo("42 echo"));

    [Test]
    public async Task Time_AskedFor_IsTheGuests()
    {
        // Not the host's.
        string output =
            (await Guest.RunAsync($"date -s @1234567890 > /dev/null; date +%s; {Client} time; date +%s")).Succeeded();

        long[] seconds = [.. output.Split('\n').Select(line => long.Parse(line, CultureInfo.InvariantCulture))];
        Assert.That(seconds, Has.Length.EqualTo(3)
            .And.Ordered, "the guest's clock, the application's, the guest's again");
    }

    [Test]
    public async Task Memory_OfKernelAndSupplicant_IsShared()
    {
        string output = (await Guest.RunAsync($"{Client} share 65536 1 && {StartSupplicant} && {Client} share 65536 0"))
            .Succeeded();

        Assert.That(output, Is.EqualTo("65536\n65536"));
    }

    [Test]
    public async Task File_BeforeThereIsASupplicant_WaitsForItWhileOtherCallsPass()
    {
        Task<CommandResult> writing = Guest.RunAsync($"{Client} write folder/early 'a text'", seconds: 120);
        string meanwhile = (await Guest.RunAsync(
            "until grep -q optee_supp_thrd_req /proc/$(pidof guest-calls)/wchan; do sleep 0.1; done; "
            + $"{OtherClient} 40 2 echo; {Client} time > /dev/null && echo time")).Succeeded();
        bool endedWithoutSupplicant = writing.IsCompleted;
        (await Guest.RunAsync(StartSupplicant)).Succeeded();
        (await writing).Succeeded();

        Assert.That(meanwhile, Is.EqualTo("42 echo\ntime"));
        Assert.That(endedWithoutSupplicant, Is.False);
        Assert.That((await Guest.RunAsync($"cat {Files}/folder/early")).Succeeded(), Is.EqualTo("a text"));
    }

    [Test]
    public async Task File_WrittenAndRead_IsTheSupplicants()
    {
        (await Guest.RunAsync(StartSupplicant)).Succeeded();

        await AssertThatFilesWork("written");
    }

    [Test]
    public async Task Wait_Cancelled_EndsAtOnce()
    {
        const string TenMinutes = "600000";

        string output = (await Guest.RunAsync($"{Client} cancel {TenMinutes} 1000")).Succeeded();

        TestContext.Out.WriteLine($"TEE_ERROR_CANCEL and milliseconds: {output}");
        Assert.That(output, Does.StartWith("ffff0002 "));
    }

    [Test]
    public async Task Wait_WhileTheGuestComputes_LeavesItTheCpu()
    {
        int before = await Guest.NotificationsAsync();
        SpeedRatios sleeping = await MeasureAsync(Guest, "5000 1000 1000 1000 1000");
        int after = await Guest.NotificationsAsync();
        await using Guest other =
            await Guest.StartAsync(Machine, 2, new GuestOptions { Tee = "software", Cpus = 1, Notifications = false });
        SpeedRatios interrupted = await MeasureAsync(other, "1000 1000 1000");

        TestContext.Out.WriteLine($"asleep:\n{sleeping.Report}\ninterrupted:\n{interrupted.Report}");
        Assert.That(after - before, Is.GreaterThanOrEqualTo(5), "each call should end by an interrupt");
        Assert.That(sleeping.Median, Is.GreaterThanOrEqualTo(0.8), sleeping.Report);
    }

    [Test]
    public async Task Driver_UnboundAndBoundAgain_WorksAsBefore()
    {
        (await Guest.RunAsync($"{StartSupplicant} && {Client} wait 100 && {StopSupplicant}")).Succeeded();

        (await Guest.RunAsync($"echo firmware:optee > {Driver}/unbind && [ ! -e /dev/tee0 ]")).Succeeded();
        (await Guest.RunAsync($"echo firmware:optee > {Driver}/bind && [ -e /dev/tee0 ] && {StartSupplicant}"))
            .Succeeded();

        await AssertThatFilesWork("bound-again");
        (await Guest.RunAsync($"{Client} time && {Client} wait 100 && {OtherClient} 40 2 echo")).Succeeded();
        Assert.That(await Guest.NotificationsAsync(), Is.Positive, "the wait should end by an interrupt");
        Assert.That((await Guest.RunAsync("dmesg | grep -A 50 'Call trace' || echo none")).Succeeded(),
            Is.EqualTo("none"));
    }

    /// <summary>docs/guide/first-run.md, and docs/diagnostics.md: the guest of the page, seen by a trace and by
    /// metrics.</summary>
    [Test]
    public async Task FirstRun_OfTheGuide_ShowsWhatThePageSaysAndIsTraced()
    {
        const string TraceFile = "/run/trace.json";
        const string Observed = $" --trace {TraceFile} --metrics";
        GuidePage page = new("first-run");
        string start = page.BlockAfter("starts Debian's kernel as a guest").Single();
        await using Guest guest = await Guest.StartAsync(Machine, 2, start + Observed);

        string shown = (await guest.RunAsync(string.Join('\n', page.BlockAfter("See what its driver said"))))
            .Succeeded();
        (await guest.RunAsync($"{Client} time && {Client} wait 100")).Succeeded();
        string metrics = (await guest.PowerOffAsync()).Succeeded();
        string trace = (await Machine.RunAsync($"cat {TraceFile}")).Succeeded();

        if (Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_TRACE") is { Length: > 0 } copy)
        {
            await File.WriteAllTextAsync(copy, trace);
        }

        string[] withoutTimes = [.. shown.Split('\n').Select(line =>
            line.StartsWith('[') ? line[(line.IndexOf(']', StringComparison.Ordinal) + 2)..] : line)];
        Assert.That(withoutTimes, Is.EqualTo(page.BlockAfter("that gives")));
        CheckTrace(new ObservedTrace(trace), metrics);
    }

    private static void CheckTrace(ObservedTrace trace, string metrics)
    {
        string[] calls = [.. trace.Calls.Select(call => string.Join(' ',
            trace.Within(call).Select(span => span.Name).Where(name => name is not "preempted" and not "asleep")
                .Prepend(call.Result).Prepend(call.Name)))];
        TestContext.Out.WriteLine($"{string.Join('\n', calls)}\n{metrics}");
        Assert.That(trace.Faults(), Is.Empty);

        // As libteec, the kernel's driver and the application say them: the two runs of the client, the last calls.
        Assert.That(calls.TakeLast(6), Is.EqualTo(
        [
            "OPEN_SESSION Success", "INVOKE_COMMAND Success GET_TIME", "CLOSE_SESSION Success",
            "OPEN_SESSION Success", "INVOKE_COMMAND Success", "CLOSE_SESSION Success",
        ]));

        // A busy computer makes other calls sleep, too.
        Assert.That(trace.Within(trace.Calls[^2]).Select(span => span.Name), Has.Some.EqualTo("asleep"));

        // What was counted is what was traced.
        IEnumerable<string> counted = metrics.Split('\n').Where(line =>
            line.Split(' ')[0] is "opteemediator.calls" or "opteemediator.rpcs" or "opteemediator.sleeps"
                or "opteemediator.preemptions");
        IEnumerable<string> traced = trace.Calls
            .Select(call => $"opteemediator.calls call={call.Name} result={call.Result}")
            .Concat(trace.Calls.SelectMany(trace.Within).Select(span => span.Name switch
            {
                "asleep" => "opteemediator.sleeps",
                "preempted" => "opteemediator.preemptions",
                _ => $"opteemediator.rpcs command={span.Name}",
            }))
            .GroupBy(line => line).Select(group => $"{group.Key} {group.Count()} {group.Count()}");
        Assert.That(counted, Is.EquivalentTo(traced));
    }

    private static async Task<SpeedRatios> MeasureAsync(Guest guest, string milliseconds) =>
        SpeedRatios.Read((await guest.RunAsync($"{Client} speed {milliseconds}", seconds: 120)).Succeeded());

    private async Task AssertThatFilesWork(string name)
    {
        string output = (await Guest.RunAsync(
            $"{Client} write {name} 'a text' && {Client} read {name} && cat {Files}/{name}")).Succeeded();

        Assert.That(output, Is.EqualTo("a text\na text"), "what the application reads, and what is in the file");
    }
}
