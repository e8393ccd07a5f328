namespace OpTeeMediator.Memory;

/// <summary>A range of guest addresses that does not wrap.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
public readonly record struct GuestRange
{
    /// <summary>Creates a range.</summary>
    /// <param name="start">The first address.</param>
    /// <param name="length">The length in bytes; the last byte may not lie beyond 2⁶⁴ − 1. 0 is an empty range.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range wraps.</exception>
    public GuestRange(GuestAddress start, ulong length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, ulong.MaxValue - start.Value, nameof(length));
        Start = start;
        Length = length;
    }

    /// <summary>The first address.</summary>
    public GuestAddress Start { get; }

    /// <summary>The length in bytes.</summary>
    public ulong Length { get; }

    /// <summary>The first address behind the range.</summary>
    public GuestAddress End => new(Start.Value + Length);

    /// <summary>Whether <paramref name="length"/> bytes at <paramref name="address"/> lie in the range.</summary>
    /// <param name="address">The first address.</param>
    /// <param name="length">The length in bytes.</param>
    /// <returns><see langword="true"/> if they all do; no sum is formed that could wrap.</returns>
    public bool Contains(GuestAddress address, ulong length)
    {
        ulong offset = unchecked(address.Value - Start.Value);
        return offset <= Length && length <= Length - offset;
    }

    /// <summary>Whether the two ranges share a byte.</summary>
    /// <param name="other">The other range.</param>
    public bool Overlaps(GuestRange other) =>
        Length != 0 && other.Length != 0 && Start < other.End && other.Start < End;

    /// <inheritdoc/>
    public override string ToString() => $"[{Start}, {End})";
}
