using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Compatibility;
using OpTeeMediator.Machines.Parity;
using OpTeeMediator.Machines.Xtest;

// The table of what is known to work, from the records of a run of the tests; tests/run calls it.
if (args is ["--compatibility", var records, var table])
{
    await File.WriteAllTextAsync(table, new CompatibilityReport(CompatibilityRecord.ReadAll(records)).ToMarkdown());
    return 0;
}

// The parity report; tests/machines/parity explains it.
TimeSpan limit = TimeSpan.FromMinutes(60);
string? output = null;
if (args is ["--output", var path, ..])
{
    output = path;
    args = args[2..];
}

string disk = await MachineFiles.BuildAsync();
var columns = new List<ParityColumn>();
string kernel;
await using (Machine machine = await Machine.BootAsync(new MachineOptions { Disk = disk }))
{
    kernel = machine.Kernel;
    await using Guest guest = await Guest.StartAsync(machine, 1, new GuestOptions { Tee = "linux", Cpus = 2 });
    await AddAsync("host", machine.Host, ExpectedDifferences.None);
    await AddAsync("guest", guest.Console, ExpectedDifferences.Reasons);
}

await using (Machine machine = await Machine.BootAsync(new MachineOptions { Disk = disk, HasSecureWorld = false }))
{
    await using Guest guest = await Guest.StartAsync(machine, 1, new GuestOptions { Tee = "companion", Cpus = 2 });
    await guest.RunAsync("tee-supplicant -d");
    await AddAsync("companion", guest.Console, ExpectedDifferences.None);
}

async Task AddAsync(string name, AgentLine line, IReadOnlyDictionary<string, string> expected)
{
    Console.Error.WriteLine($"--- {name}");
    columns.Add(new ParityColumn(name,
        await XtestRun.RunAsync(line, limit, text => Console.Error.WriteLine(text.Text), args), expected));
}

var report = new ParityReport(columns);
Console.WriteLine(report.ToText());
foreach (ParityColumn column in columns.Where(column => column.Run.Interruption is not null))
{
    Console.WriteLine($"{column.Name}: {column.Run.Interruption}");
}

if (output is not null)
{
    string cases = args.Length == 0 ? "The whole regression suite"
        : $"Cases {string.Join(", ", args)} of the regression suite";
    MachinePackages packages = await MachinePackages.ReadAsync();
    string introduction = $"""
        {cases} of OP-TEE's xtest {packages.Xtest} at level 0, on emulated machines (`tests/machines/parity`, which
        wrote this file), {DateTime.UtcNow:yyyy-MM-dd}: first on the host itself, then in a guest with two vCPUs and no
        tee-supplicant, whose TEE is the host's by way of `samples/KvmVmm` and `LinuxTeeBackend`; then, on a machine
        without a secure world, in a guest with two vCPUs and a tee-supplicant, whose OP-TEE runs beside it
        (`OpTeeCompanion`). All run Debian's Linux {kernel} with OP-TEE {packages.OpTee}. Seconds are those of an
        emulated machine that shares two cores with others: they compare, roughly; they do not measure.
        """;
    await File.WriteAllTextAsync(output, report.ToMarkdown(introduction));
}

return report.Unexpected.Any() ? 1 : 0;
