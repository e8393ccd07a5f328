namespace OpTeeMediator.Vmm;

/// <summary>Times as .NET's waits take them: whole milliseconds; a fraction would be cut off, and a wait of 0 repeated
/// until it has passed.</summary>
internal static class WholeMilliseconds
{
    public static int AtLeast(TimeSpan time) => (int)Math.Ceiling(time.TotalMilliseconds);
}
