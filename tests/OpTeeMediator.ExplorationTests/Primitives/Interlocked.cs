using OpTeeMediator.ExplorationTests.Scheduling;
using Real = System.Threading.Interlocked;

namespace OpTeeMediator;

/// <summary>What the prepared core finds before that of System.Threading: each operation is a scheduling point.
/// </summary>
internal static class Interlocked
{
    public static T Exchange<T>(ref T location, T value)
    {
        Explorer.Reach("Interlocked.Exchange");
        return Real.Exchange(ref location, value);
    }

    public static T CompareExchange<T>(ref T location, T value, T comparand)
    {
        Explorer.Reach("Interlocked.CompareExchange");
        return Real.CompareExchange(ref location, value, comparand);
    }

    public static int Increment(ref int location)
    {
        Explorer.Reach("Interlocked.Increment");
        return Real.Increment(ref location);
    }

    public static long Increment(ref long location)
    {
        Explorer.Reach("Interlocked.Increment");
        return Real.Increment(ref location);
    }

    public static int Decrement(ref int location)
    {
        Explorer.Reach("Interlocked.Decrement");
        return Real.Decrement(ref location);
    }

    public static long Decrement(ref long location)
    {
        Explorer.Reach("Interlocked.Decrement");
        return Real.Decrement(ref location);
    }

    public static int Add(ref int location, int value)
    {
        Explorer.Reach("Interlocked.Add");
        return Real.Add(ref location, value);
    }

    public static long Add(ref long location, long value)
    {
        Explorer.Reach("Interlocked.Add");
        return Real.Add(ref location, value);
    }

    public static void MemoryBarrier()
    {
        Explorer.Reach("Interlocked.MemoryBarrier");
        Real.MemoryBarrier();
    }
}
