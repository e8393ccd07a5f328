using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>What a page of docs/guide says that a machine shows.</summary>
/// <param name="name">The page's name, without folder and extension.</param>
internal sealed class GuidePage(string name)
{
    private readonly string[] _lines =
        File.ReadAllLines(Path.Combine(MachineScripts.Repository, "docs", "guide", name + ".md"));

    /// <summary>The lines of the first block of text after a line.</summary>
    /// <param name="line">What the line contains.</param>
    /// <returns>The block's lines.</returns>
    public string[] BlockAfter(string line) =>
    [
        .. _lines.SkipWhile(candidate => !candidate.Contains(line, StringComparison.Ordinal))
            .SkipWhile(candidate => !candidate.StartsWith("```", StringComparison.Ordinal)).Skip(1)
            .TakeWhile(candidate => candidate != "```"),
    ];

    /// <summary>What stands between backticks in the first column of the table after a heading.</summary>
    /// <param name="heading">The heading.</param>
    /// <returns>The texts.</returns>
    public IEnumerable<string> FirstColumnAfter(string heading) =>
        _lines.SkipWhile(line => line != heading).Skip(1).TakeWhile(line => !line.StartsWith('#'))
            .Where(line => line.StartsWith('|'))
            .SelectMany(line => line.Split('|')[1].Split('`').Where((_, index) => index % 2 == 1));
}
