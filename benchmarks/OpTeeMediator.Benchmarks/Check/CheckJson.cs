using System.Text.Json.Serialization;

namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What is read and written as JSON, without reflection: NativeAOT has none for it.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(Dictionary<string, Budget>))]
[JsonSerializable(typeof(Measurement))]
internal sealed partial class CheckJson : JsonSerializerContext;
