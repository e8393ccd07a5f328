using System.Globalization;
using System.Text;

namespace OpTeeMediator.Machines.Compatibility;

/// <summary>The table of what is known to work: a line for each subject and set of versions.</summary>
/// <param name="records">What the tests have recorded.</param>
public sealed class CompatibilityReport(IReadOnlyList<CompatibilityRecord> records)
{
    private const string None = "–";

    /// <summary>The report for the documentation.</summary>
    /// <returns>Markdown.</returns>
    public string ToMarkdown()
    {
        var text = new StringBuilder();
        text.AppendLine("# What is known to work").AppendLine();
        text.AppendLine("Written by the test run from what it has seen on emulated machines (`tests/machines`); "
            + "guests are Linux if not named otherwise.").AppendLine();
        text.AppendLine("| | Linux, host | guests | OP-TEE | tee-supplicant, xtest | tests |");
        text.AppendLine("|---|---|---|---|---|---|");
        foreach (var group in records
            .GroupBy(record => (record.Subject, record.Host, record.OpTee, record.Clients))
            .OrderBy(group => group.Key.Subject, StringComparer.Ordinal)
            .ThenBy(group => group.Key.Clients, StringComparer.Ordinal))
        {
            IEnumerable<string> guests = group.SelectMany(record => record.Guests).Distinct()
                .Order(StringComparer.Ordinal);
            text.AppendLine(CultureInfo.InvariantCulture,
                $"| {group.Key.Subject} | {OrNone(group.Key.Host)} | {OrNone(string.Join(", ", guests))} "
                + $"| {OrNone(group.Key.OpTee)} | {OrNone(group.Key.Clients)} | {Result(group)} |");
        }

        return text.ToString();
    }

    private static string OrNone(string text) => text.Length == 0 ? None : text;

    private static string Result(IEnumerable<CompatibilityRecord> group)
    {
        int passed = group.Sum(record => record.Passed);
        int failed = group.Sum(record => record.Failed);
        return failed == 0
            ? string.Create(CultureInfo.InvariantCulture, $"all {passed} pass")
            : string.Create(CultureInfo.InvariantCulture, $"**{failed} of {passed + failed} fail**");
    }
}
