using System.Globalization;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>What the runtime of another process says about its code (DOTNET_PerfMapEnabled).</summary>
internal sealed class PerfMap(string path)
{
    private List<CodeRange> _ranges = [];

    /// <summary>Reads what has been compiled until now.</summary>
    public void Read()
    {
        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using StreamReader reader = new(file);
        List<CodeRange> ranges = [];
        while (reader.ReadLine() is { } line)
        {
            // "7f3250884c60 2ef name"; the last line may still be incomplete.
            string[] parts = line.Split(' ', 3);
            if (parts.Length == 3 && TryParse(parts[0], out ulong start) && TryParse(parts[1], out ulong length))
            {
                ranges.Add(new CodeRange(start, start + length, parts[2]));
            }
        }

        _ranges = ranges;
    }

    /// <summary>The code at an address; later code may lie where earlier code was.</summary>
    public CodeRange? Find(ulong address) => _ranges.FindLast(range => range.Contains(address));

    /// <summary>Where methods begin that are of a type and have a name.</summary>
    public HashSet<ulong> FindEntries(string method) =>
        [.. _ranges.Where(range => range.IsOf($"{method}(")).Select(range => range.Start)];

    private static bool TryParse(string text, out ulong number) => ulong.TryParse(
        text.StartsWith("0x", StringComparison.Ordinal) ? text[2..] : text, NumberStyles.HexNumber,
        CultureInfo.InvariantCulture, out number);
}
