using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace OpTeeMediator.SharedMemory;

/// <summary>Spreads cookies over a table by keys that the guest does not know.</summary>
/// <remarks>
/// The guest chooses the cookies: with a fixed function it could choose many that meet in one place. Each table has random keys of its own. A round is a
/// multiplication of 64 by 64 bits whose two halves are combined, so that every bit of the cookie reaches every bit of the result; two rounds leave no simple
/// relation between cookies and places. Immutable, hence thread-safe.
/// </remarks>
internal readonly struct CookieHash
{
    private readonly ulong _firstMask;
    private readonly ulong _firstFactor;
    private readonly ulong _secondMask;
    private readonly ulong _secondFactor;
    private readonly int _shift;

    /// <summary>Draws keys.</summary>
    /// <param name="bits">The binary logarithm of the number of places, 1–31.</param>
    public CookieHash(int bits)
    {
        Span<ulong> keys = stackalloc ulong[4];
        RandomNumberGenerator.Fill(MemoryMarshal.AsBytes(keys));
        _firstMask = keys[0];
        _firstFactor = keys[1] | 1;
        _secondMask = keys[2];
        _secondFactor = keys[3] | 1;
        _shift = 64 - bits;
    }

    /// <summary>The place where a cookie's search begins.</summary>
    public int PlaceOf(ulong cookie) => (int)(Round(Round(cookie ^ _firstMask, _firstFactor) ^ _secondMask, _secondFactor) >> _shift);

    private static ulong Round(ulong value, ulong factor)
    {
        ulong high = Math.BigMul(value, factor, out ulong low);
        return high ^ low;
    }
}
