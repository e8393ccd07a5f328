using System.Text.Json;

namespace OpTeeMediator.Machines.Compatibility;

/// <summary>Which versions a group of tests ran with, and what came of them.</summary>
/// <param name="Subject">What was tested, such as <c>OpTeeCompanion</c>.</param>
/// <param name="Host">The version of Linux on the machine; empty if no Linux runs below the guests.</param>
/// <param name="Guests">The versions of Linux in the guests.</param>
/// <param name="OpTee">OP-TEE's version; empty if none took part.</param>
/// <param name="Clients">The versions of tee-supplicant and xtest.</param>
/// <param name="Passed">How many tests passed.</param>
/// <param name="Failed">How many tests failed.</param>
public sealed record CompatibilityRecord(
    string Subject, string Host, IReadOnlyList<string> Guests, string OpTee, string Clients, int Passed, int Failed)
{
    private const string Extension = ".json";

    /// <summary>Where a run of the tests collects records; <see langword="null"/> if it does not.</summary>
    public static string? Folder { get; } =
        Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_RECORDS") is { Length: > 0 } folder ? folder : null;

    /// <summary>Keeps the record for the report.</summary>
    /// <returns>A task.</returns>
    public async Task KeepAsync()
    {
        if (Folder is not null)
        {
            await File.WriteAllTextAsync(Path.Combine(Folder, Guid.NewGuid().ToString("n") + Extension),
                JsonSerializer.Serialize(this));
        }
    }

    /// <summary>Reads what a run has collected.</summary>
    /// <param name="folder">Where.</param>
    /// <returns>The records.</returns>
    public static IReadOnlyList<CompatibilityRecord> ReadAll(string folder) =>
        [.. Directory.EnumerateFiles(folder, "*" + Extension)
            .Select(path => JsonSerializer.Deserialize<CompatibilityRecord>(File.ReadAllText(path))!)];
}
