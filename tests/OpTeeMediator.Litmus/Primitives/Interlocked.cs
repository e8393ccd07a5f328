using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using OpTeeMediator.Litmus.Primitives;
using Real = System.Threading.Interlocked;

namespace OpTeeMediator;

/// <summary>What the product's sources find before that of System.Threading: the same, except that in a control run
/// exchanges and barriers, which serve as fences, are none.</summary>
internal static class Interlocked
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Exchange<T>(ref T location, T value)
    {
        if (!Weakness.IsWeak)
        {
            return Real.Exchange(ref location, value);
        }

        T earlier = location;
        location = value;
        return earlier;
    }

    public static ulong Exchange(ref ulong location, ulong value) => Exchange<ulong>(ref location, value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MemoryBarrier()
    {
        if (!Weakness.IsWeak)
        {
            Real.MemoryBarrier();
        }
    }

    [return: NotNullIfNotNull(nameof(location))]
    public static T CompareExchange<T>(ref T location, T value, T comparand) =>
        Real.CompareExchange(ref location, value, comparand);

    public static int Increment(ref int location) => Real.Increment(ref location);

    public static uint Increment(ref uint location) => Real.Increment(ref location);

    public static long Increment(ref long location) => Real.Increment(ref location);

    public static int Decrement(ref int location) => Real.Decrement(ref location);

    public static long Decrement(ref long location) => Real.Decrement(ref location);

    public static int Add(ref int location, int value) => Real.Add(ref location, value);

    public static long Add(ref long location, long value) => Real.Add(ref location, value);

    public static ulong Or(ref ulong location, ulong value) => Real.Or(ref location, value);
}
