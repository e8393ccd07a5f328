using System.Text.Json;

namespace OpTeeMediator.Benchmarks.Readme;

/// <summary>The figures of the README's table, as they lie in <c>benchmarks/readme.json</c>.</summary>
/// <param name="Date">The day.</param>
/// <param name="Processor">On what.</param>
/// <param name="BareInvoke">The reference.</param>
/// <param name="Rows">The table's rows, in order.</param>
public sealed record ReadmeRecord(
    DateOnly Date, string Processor, ReadmeFigure BareInvoke, IReadOnlyList<ReadmeFigure> Rows)
{
    /// <summary>Which scenario each row of the README's table has.</summary>
    public static IReadOnlyDictionary<string, string> Scenarios { get; } = new Dictionary<string, string>
    {
        ["fast call"] = "FastCall",
        ["invoke with four values"] = "InvokeFourValues",
        ["register and unregister one page"] = "Register1Page",
    };

    public static ReadmeRecord Read(string path) =>
        JsonSerializer.Deserialize(File.ReadAllText(path), ReadmeJson.Default.ReadmeRecord)!;

    internal void Write(string path) =>
        File.WriteAllText(path, JsonSerializer.Serialize(this, ReadmeJson.Default.ReadmeRecord) + "\n");
}
