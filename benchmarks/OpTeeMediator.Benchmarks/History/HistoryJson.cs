using System.Text.Json.Serialization;

namespace OpTeeMediator.Benchmarks.History;

/// <summary>How a record is written.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, UseStringEnumConverter = true)]
[JsonSerializable(typeof(BenchmarkRecord))]
internal sealed partial class HistoryJson : JsonSerializerContext;
