namespace OpTeeMediator.Litmus.Primitives;

/// <summary>What the product's operations are without, in a control run.</summary>
internal static class Weakness
{
    // A plain field: reading it orders nothing.
    private static bool s_isWeak;

    /// <summary>Whether exchanges and barriers are no fences, and accesses plain ones.</summary>
    public static ref bool IsWeak => ref s_isWeak;
}
