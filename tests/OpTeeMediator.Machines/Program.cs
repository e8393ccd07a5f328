using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Parity;
using OpTeeMediator.Machines.Xtest;

// The parity report; tests/machines/parity explains it.
TimeSpan limit = TimeSpan.FromMinutes(60);
string? output = null;
if (args is ["--output", var path, ..])
{
    output = path;
    args = args[2..];
}

await using Machine machine = await Machine.BootAsync(new MachineOptions { Files = await MachineFiles.BuildAsync() });
await using Guest guest = await Guest.StartAsync(machine, 1, new GuestOptions { Tee = "linux", Cpus = 2 });

var columns = new List<ParityColumn>();
foreach ((string name, var line) in new[] { ("host", machine.Host), ("guest", guest.Console) })
{
    Console.Error.WriteLine($"--- {name}");
    columns.Add(new ParityColumn(name, await XtestRun.RunAsync(line, limit, text => Console.Error.WriteLine(text.Text), args)));
}

var report = new ParityReport(columns);
Console.WriteLine(report.ToText());
foreach (ParityColumn column in columns.Where(column => column.Run.Interruption is not null))
{
    Console.WriteLine($"{column.Name}: {column.Run.Interruption}");
}

if (output is not null)
{
    string cases = args.Length == 0 ? "The whole regression suite" : $"Cases {string.Join(", ", args)} of the regression suite";
    string introduction = $"""
        {cases} of OP-TEE's xtest 4.5 at level 0, on one emulated machine (`tests/machines/parity`, which wrote this file), {DateTime.UtcNow:yyyy-MM-dd}: first on
        the host itself, then in a guest with two vCPUs and no tee-supplicant, whose TEE is the host's by way of `samples/KvmVmm` and `LinuxTeeBackend`. Both
        run Debian's Linux 6.12. Seconds are those of an emulated machine that shares two cores with others: they compare, roughly; they do not measure.
        """;
    await File.WriteAllTextAsync(output, report.ToMarkdown(introduction));
}

return report.Unexpected.Any() ? 1 : 0;
