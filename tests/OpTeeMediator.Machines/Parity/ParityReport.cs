using System.Globalization;
using System.Text;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.Machines.Parity;

/// <summary>xtest's regression suite in several places, case by case.</summary>
/// <param name="columns">The places. The first is the reference.</param>
public sealed class ParityReport(IReadOnlyList<ParityColumn> columns)
{
    private readonly IReadOnlyList<string> _ids =
        [.. columns.SelectMany(column => column.Run.Cases).Select(one => one.Id).Distinct()];

    /// <summary>The cases that pass in the first place and not in one of the others, unless that is expected.</summary>
    public IEnumerable<string> Unexpected =>
        _ids.Where(id => Differing(id).Any(column => !column.Expected.ContainsKey(id)));

    /// <summary>The report for a terminal.</summary>
    /// <returns>A text.</returns>
    public string ToText()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture,
            $"{"case",-16}{string.Concat(columns.Select(column => $"{column.Name,-20}"))}");
        foreach (string id in _ids)
        {
            text.AppendLine(CultureInfo.InvariantCulture,
                $"{id,-16}{string.Concat(columns.Select(column => $"{Result(column, id),-20}"))}{Remark(id)}");
        }

        return text.AppendLine().Append(Summary()).ToString();
    }

    /// <summary>The report for the documentation.</summary>
    /// <param name="introduction">What was run where.</param>
    /// <returns>Markdown.</returns>
    public string ToMarkdown(string introduction)
    {
        var text = new StringBuilder();
        text.AppendLine("# Parity with the host").AppendLine();
        text.AppendLine("## Summary").AppendLine();
        AppendFigures(text);
        AppendDifferences(text);
        text.AppendLine("## How it was run").AppendLine();
        text.AppendLine(introduction).AppendLine();
        text.AppendLine("## Case by case").AppendLine();
        text.AppendLine(CultureInfo.InvariantCulture,
            $"| case | {string.Join(" | ", columns.Select(column => column.Name))} | remark |");
        text.AppendLine(CultureInfo.InvariantCulture, $"|---|{string.Concat(columns.Select(_ => "---|"))}---|");
        foreach (string id in _ids)
        {
            string title = columns.Select(column => column.Find(id)?.Title).First(found => found is not null)!;
            string results = string.Join(" | ", columns.Select(column => Result(column, id)));
            text.AppendLine(CultureInfo.InvariantCulture, $"| {id} {title} | {results} | {Remark(id)} |");
        }

        return text.ToString();
    }

    private void AppendFigures(StringBuilder text)
    {
        text.AppendLine("| where xtest runs | passed | failed | skip something | time | times the first |");
        text.AppendLine("|---|---|---|---|---|---|");
        foreach (ParityColumn column in columns)
        {
            IReadOnlyList<XtestCase> cases = column.Run.Cases;
            text.AppendLine(CultureInfo.InvariantCulture,
                $"| {column.Name}{(column.Run.Interruption is null ? "" : ", **not run to the end**")} "
                + $"| {cases.Count(one => one.Outcome == XtestOutcome.Passed)} of {cases.Count} "
                + $"| {cases.Count(one => one.Outcome == XtestOutcome.Failed)} "
                + $"| {cases.Count(one => one.Skips.Count > 0)} "
                + $"| {column.Seconds:0} s | {column.Seconds / columns[0].Seconds:0.00} |");
        }

        text.AppendLine();
    }

    // For each reason the cases, so that a reader need not look for them in the table below.
    private void AppendDifferences(StringBuilder text)
    {
        (string Place, string Reason, string Id)[] differences =
        [
            .. _ids.SelectMany(id => Differing(id).Select(column =>
                (column.Name, column.Expected.TryGetValue(id, out string? reason) ? reason : "**unexpected**", id))),
        ];
        if (differences.Length == 0)
        {
            text.AppendLine(CultureInfo.InvariantCulture,
                $"Each case that passes on the {columns[0].Name} passes everywhere.").AppendLine();
            return;
        }

        text.AppendLine(CultureInfo.InvariantCulture, $"What passes on the {columns[0].Name} and fails elsewhere:");
        text.AppendLine();
        foreach (var group in differences.GroupBy(one => (one.Place, one.Reason)))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"- {group.Key.Place}, "
                + $"{string.Join(", ", group.Select(one => one.Id))}: {group.Key.Reason}.");
        }

        text.AppendLine();
    }

    private static string Result(ParityColumn column, string id) => column.Find(id) switch
    {
        null => "–",
        { Outcome: XtestOutcome.Passed } passed =>
            string.Create(CultureInfo.InvariantCulture, $"pass {passed.Duration.TotalSeconds:0.0} s"),
        { Outcome: XtestOutcome.Failed } failed =>
            string.Create(CultureInfo.InvariantCulture, $"FAIL {failed.Duration.TotalSeconds:0.0} s"),
        _ => "UNFINISHED",
    };

    private IEnumerable<ParityColumn> Differing(string id) =>
        columns[0].Passed(id) ? columns.Where(column => !column.Passed(id)) : [];

    private string Remark(string id)
    {
        var remarks = new List<string>();
        foreach (ParityColumn column in Differing(id))
        {
            remarks.Add(column.Expected.TryGetValue(id, out string? reason)
                ? $"{column.Name}, expected: {reason}"
                : $"{column.Name}, **unexpected**: "
                    + (column.Find(id)?.Errors ?? []).DefaultIfEmpty("no message").First());
        }

        foreach (IGrouping<string, string> skip in columns
            .SelectMany(column => (column.Find(id)?.Skips ?? []).Distinct()
                .Select(skipped => (Skipped: skipped, column.Name)))
            .GroupBy(one => one.Skipped, one => one.Name))
        {
            remarks.Add($"skipped, or partly skipped ({string.Join(", ", skip)}): {skip.Key}");
        }

        return string.Join("; ", remarks);
    }

    private string Summary()
    {
        var text = new StringBuilder();
        foreach (ParityColumn column in columns)
        {
            IReadOnlyList<XtestCase> cases = column.Run.Cases;
            text.AppendLine(CultureInfo.InvariantCulture,
                $"- {column.Name}: {cases.Count} cases, "
                + $"{cases.Count(one => one.Outcome == XtestOutcome.Passed)} passed, "
                + $"{cases.Count(one => one.Outcome == XtestOutcome.Failed)} failed, "
                + $"{cases.Count(one => one.Skips.Count > 0)} that say they skip something; "
                + $"{column.Seconds:0} s, {column.Seconds / columns[0].Seconds:0.00} times the {columns[0].Name}'s"
                + $"{(column.Run.Interruption is null ? "" : ", **not run to the end**")}");
        }

        string[] differing = [.. _ids.Where(id => Differing(id).Any())];
        string[] unexpected = [.. Unexpected];
        text.Append(CultureInfo.InvariantCulture,
            $"- cases that pass on the {columns[0].Name} and not elsewhere: {differing.Length}, "
            + $"of which unexpected: {(unexpected.Length == 0 ? "none" : string.Join(", ", unexpected))}");
        return text.ToString();
    }
}
