
namespace OpTeeMediator.Memory;

/// <summary>An address of the guest (an intermediate physical address, IPA).</summary>
/// <remarks>A type of its own so that it is never mixed up with a host address or a number. There is no operator that
/// can wrap silently. Immutable, hence thread-safe.</remarks>
/// <param name="Value">The address in bytes.</param>
public readonly record struct GuestAddress(ulong Value) : IComparable<GuestAddress>
{
    /// <summary>Names a number, in bytes, as a guest address.</summary>
    public static implicit operator GuestAddress(ulong value) => new(value);

    /// <summary>Names a number, in bytes, as a guest address.</summary>
    public static GuestAddress FromUInt64(ulong value) => new(value);

    /// <summary>The address <paramref name="offset"/> bytes on.</summary>
    /// <param name="offset">The distance in bytes.</param>
    /// <param name="result">The sum, if it fits 64 bits.</param>
    /// <returns><see langword="false"/> if the sum would wrap.</returns>
    public bool TryAdd(ulong offset, out GuestAddress result)
    {
        ulong sum = unchecked(Value + offset);
        result = new GuestAddress(sum);
        return sum >= offset;
    }

    /// <summary>The address <paramref name="offset"/> bytes on.</summary>
    /// <param name="offset">The distance in bytes.</param>
    /// <exception cref="OverflowException">The sum does not fit 64 bits; <see cref="TryAdd"/> tells.</exception>
    public GuestAddress Add(ulong offset) => new(checked(Value + offset));

    /// <summary>Whether the address is a multiple of <paramref name="alignment"/>.</summary>
    /// <param name="alignment">A power of two, in bytes.</param>
    public bool IsAligned(ulong alignment) => (Value & (alignment - 1)) == 0;

    /// <inheritdoc/>
    public int CompareTo(GuestAddress other) => Value.CompareTo(other.Value);

    /// <summary>Whether <paramref name="left"/> lies before <paramref name="right"/>.</summary>
    public static bool operator <(GuestAddress left, GuestAddress right) => left.Value < right.Value;

    /// <summary>Whether <paramref name="left"/> lies at or before <paramref name="right"/>.</summary>
    public static bool operator <=(GuestAddress left, GuestAddress right) => left.Value <= right.Value;

    /// <summary>Whether <paramref name="left"/> lies behind <paramref name="right"/>.</summary>
    public static bool operator >(GuestAddress left, GuestAddress right) => left.Value > right.Value;

    /// <summary>Whether <paramref name="left"/> lies at or behind <paramref name="right"/>.</summary>
    public static bool operator >=(GuestAddress left, GuestAddress right) => left.Value >= right.Value;

    /// <inheritdoc/>
    public override string ToString() => $"0x{Value:x}";
}
