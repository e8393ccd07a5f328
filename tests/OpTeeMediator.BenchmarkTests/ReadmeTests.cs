using System.Globalization;
using OpTeeMediator.Benchmarks.Readme;

namespace OpTeeMediator.BenchmarkTests;

/// <summary>The README's table has the figures of benchmarks/readme.json, which BenchmarkDotNet has measured.</summary>
[TestFixture]
public class ReadmeTests
{
    [Test]
    public void Performance_OfTheReadme_HasTheRecordedFigures()
    {
        ReadmeRecord record = ReadmeRecord.Read(Path.Combine(Repository.Folder, "benchmarks", "readme.json"));
        IEnumerable<string> expected = ReadmeRecord.Scenarios.Zip(record.Rows, (row, figure) =>
        {
            Assert.That((figure.Name, figure.Bytes), Is.EqualTo((row.Value, 0)));
            double ratio = figure.Nanoseconds / record.BareInvoke.Nanoseconds;
            return string.Create(CultureInfo.InvariantCulture, $"| {row.Key} | {figure.Nanoseconds:f0} | {ratio:f1} |");
        });

        IEnumerable<string> table = File.ReadLines(Path.Combine(Repository.Folder, "README.md"))
            .SkipWhile(line => line != "## Performance").Where(line => line.StartsWith('|')).Skip(2);
        Assert.That(record.Rows, Has.Count.EqualTo(ReadmeRecord.Scenarios.Count));
        Assert.That(table, Is.EqualTo(expected));
    }
}
