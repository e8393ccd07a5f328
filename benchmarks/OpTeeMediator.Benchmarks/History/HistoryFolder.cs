using System.Text.Json;

namespace OpTeeMediator.Benchmarks.History;

/// <summary>The folder of records, <c>benchmarks/history</c>.</summary>
public static class HistoryFolder
{
    /// <summary>All records, the oldest first: their files' names begin with the date and a number.</summary>
    public static IReadOnlyList<BenchmarkRecord> Read(string folder) =>
    [
        .. Directory.EnumerateFiles(folder, "*.json").Order(StringComparer.Ordinal)
            .Select(file => JsonSerializer.Deserialize(
                File.ReadAllText(file), HistoryJson.Default.BenchmarkRecord)!),
    ];

    /// <summary>Adds a record.</summary>
    /// <returns>The path of its file.</returns>
    public static string Write(string folder, BenchmarkRecord record)
    {
        int number = Directory.EnumerateFiles(folder, $"{record.Date:yyyy-MM-dd}-*.json").Count() + 1;
        string path = Path.Combine(folder, $"{record.Date:yyyy-MM-dd}-{number}-{record.Commit}.json");
        File.WriteAllText(path, JsonSerializer.Serialize(record, HistoryJson.Default.BenchmarkRecord) + "\n");
        return path;
    }
}
