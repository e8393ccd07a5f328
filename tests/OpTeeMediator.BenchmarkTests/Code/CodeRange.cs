namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>Machine code of one method, or of stubs of the runtime, by its line in a perf map.</summary>
/// <param name="Start">The address of the first byte.</param>
/// <param name="End">The address behind the last byte.</param>
/// <param name="Name">What the runtime calls it, with the tier of its compiler at the end.</param>
internal sealed record CodeRange(ulong Start, ulong End, string Name)
{
    /// <summary>Whether it is the tiered compiler's last word, or code that is never compiled again.</summary>
    public bool IsFinal => Name.EndsWith("[OptimizedTier1]", StringComparison.Ordinal)
        || Name.EndsWith("[Optimized]", StringComparison.Ordinal) || IsStub;

    /// <summary>Whether the runtime has made it: no method's code.</summary>
    public bool IsStub => Name.StartsWith("stub ", StringComparison.Ordinal);

    /// <summary>Whether a method of a namespace, or of a type.</summary>
    public bool IsOf(string name) => Name.Contains($" {name}", StringComparison.Ordinal);

    public bool Contains(ulong address) => address >= Start && address < End;
}
