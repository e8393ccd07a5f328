using System.Text.Json.Serialization;

namespace OpTeeMediator.Benchmarks.Readme;

/// <summary>How the record is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(ReadmeRecord))]
internal sealed partial class ReadmeJson : JsonSerializerContext;
