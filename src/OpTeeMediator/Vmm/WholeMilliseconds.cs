namespace OpTeeMediator.Vmm;

/// <summary>Whole milliseconds, as .NET's waits take them: a fraction would become a wait of 0, repeated.</summary>
internal static class WholeMilliseconds
{
    public static int AtLeast(TimeSpan time) => (int)Math.Ceiling(time.TotalMilliseconds);
}
