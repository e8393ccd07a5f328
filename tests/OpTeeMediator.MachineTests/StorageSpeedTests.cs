using System.Globalization;
using System.Text.RegularExpressions;
using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>
/// xtest's storage benchmark, in pieces of 1 KiB, with OP-TEE's secure storage on the machine and with the trusted
/// storage of a guest's software TEE: one run, reported as a ratio.
/// </summary>
[TestFixture]
[OnlyInFullRuns]
internal sealed partial class StorageSpeedTests : MachineFixture
{
    private const string Benchmark = "xtest -t benchmark 100";
    private const int Minutes = 20;

    // On the machine's disk, so that a commit waits for it.
    private const string Folder = "/files/storage";

    private static readonly string[] Cases = ["write", "read", "rewrite"];

    [Test]
    public async Task Benchmark_OfXtest_GivesTheRatioToOpTeesStorage()
    {
        double[][] opTee = Read((await Machine.RunAsync(Benchmark, Minutes * 60)).Succeeded());
        (await Machine.RunAsync($"mkdir {Folder}")).Succeeded();
        double[][] software;
        await using (Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions
        {
            Tee = "software",
            More = $"--storage {Folder}/objects.db",
        }))
        {
            software = Read((await guest.RunAsync(Benchmark, Minutes * 60)).Succeeded());
        }

        for (int index = 0; index < Cases.Length; index++)
        {
            // The last size, 1 MiB: the others take a few milliseconds.
            TestContext.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{Cases[index]}: OP-TEE {opTee[index][^1]:0} kB/s, software TEE {software[index][^1]:0} kB/s, ratio "
                + $"{software[index][^1] / opTee[index][^1]:0.0}"));
        }

        Assert.That((opTee.Length, software.Length), Is.EqualTo((Cases.Length, Cases.Length)));
    }

    // A table for each case: "data size | time | speed in kB/s".
    private static double[][] Read(string output)
    {
        List<List<double>> tables = [];
        long last = long.MaxValue;
        foreach (Match row in Row().Matches(output))
        {
            long size = long.Parse(row.Groups["size"].ValueSpan, CultureInfo.InvariantCulture);
            if (size < last)
            {
                tables.Add([]);
            }

            // Less than a millisecond for all is an infinite speed.
            bool isKnown =
                double.TryParse(row.Groups["speed"].ValueSpan, CultureInfo.InvariantCulture, out double speed);
            tables[^1].Add(isKnown ? speed : double.PositiveInfinity);
            last = size;
        }

        return [.. tables.Select(table => table.ToArray())];
    }

    [GeneratedRegex(@"^\s*(?<size>\d+)\s*\|\s*[\d.]+\s*\|\s*(?<speed>[\d.]+|inf)\s*$", RegexOptions.Multiline)]
    private static partial Regex Row();
}
