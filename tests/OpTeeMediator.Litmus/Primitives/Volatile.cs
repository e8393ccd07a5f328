using System.Runtime.CompilerServices;
using OpTeeMediator.Litmus.Primitives;
using Real = System.Threading.Volatile;

namespace OpTeeMediator;

/// <summary>What the product's sources find before that of System.Threading: the same, except that in a control run
/// accesses are plain.</summary>
internal static class Volatile
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Read<T>(ref readonly T location)
        where T : class? => Weakness.IsWeak ? location : Real.Read(in location);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Read(ref readonly int location) => Weakness.IsWeak ? location : Real.Read(in location);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Read(ref readonly long location) => Weakness.IsWeak ? location : Real.Read(in location);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Read(ref readonly ulong location) => Weakness.IsWeak ? location : Real.Read(in location);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Read(ref readonly bool location) => Weakness.IsWeak ? location : Real.Read(in location);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write<T>(ref T location, T value)
        where T : class?
    {
        if (Weakness.IsWeak)
        {
            location = value;
        }
        else
        {
            Real.Write(ref location, value);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(ref int location, int value)
    {
        if (Weakness.IsWeak)
        {
            location = value;
        }
        else
        {
            Real.Write(ref location, value);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(ref long location, long value)
    {
        if (Weakness.IsWeak)
        {
            location = value;
        }
        else
        {
            Real.Write(ref location, value);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(ref byte location, byte value)
    {
        if (Weakness.IsWeak)
        {
            location = value;
        }
        else
        {
            Real.Write(ref location, value);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(ref bool location, bool value)
    {
        if (Weakness.IsWeak)
        {
            location = value;
        }
        else
        {
            Real.Write(ref location, value);
        }
    }
}
