using System.Numerics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace OpTeeMediator.SharedMemory;

/// <summary>Spreads cookies over a table by keys that the guest does not know.</summary>
/// <remarks>The guest chooses the cookies: with a fixed function it could choose many that meet in one place. Each
/// table has random keys of its own. Multiplication by a random odd factor, of which the highest bits are taken, lets
/// any two cookies meet with a probability of 2 in the number of places at the most (Dietzfelbinger's multiply-shift).
/// The first factor takes away what is regular in the cookies, so that they do not lie in rows either. Two
/// multiplications are all that a look-up can afford. Immutable, hence thread-safe.</remarks>
internal readonly struct CookieHash
{
    private readonly ulong _mask;
    private readonly ulong _firstFactor;
    private readonly ulong _secondFactor;

    public CookieHash()
    {
        Span<ulong> keys = stackalloc ulong[3];
        RandomNumberGenerator.Fill(MemoryMarshal.AsBytes(keys));
        _mask = keys[0];
        _firstFactor = keys[1] | 1;
        _secondFactor = keys[2] | 1;
    }

    /// <summary>Where a cookie's search begins; the number of places is a power of two, at least 2.</summary>
    public int PlaceOf(ulong cookie, int places)
    {
        ulong mixed = unchecked((cookie ^ _mask) * _firstFactor);
        ulong spread = unchecked((mixed ^ (mixed >> 32)) * _secondFactor);
        return (int)(spread >> (BitOperations.LeadingZeroCount((ulong)places) + 1));
    }
}
