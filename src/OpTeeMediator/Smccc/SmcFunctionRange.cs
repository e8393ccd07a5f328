namespace OpTeeMediator.Smccc;

/// <summary>A contiguous range of function identifiers that one service answers.</summary>
/// <remarks>The unit in which KVM's SMCCC filter forwards calls to user space. Immutable, hence thread-safe.</remarks>
public readonly record struct SmcFunctionRange
{
    /// <summary>Creates a range.</summary>
    /// <param name="first">The first identifier.</param>
    /// <param name="count">How many identifiers, at least 1; the last may not exceed 0xffffffff.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="count"/> is 0 or the range wraps.</exception>
    public SmcFunctionRange(SmcFunctionId first, uint count)
    {
        ArgumentOutOfRangeException.ThrowIfZero(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count - 1, uint.MaxValue - first.Value, nameof(count));
        First = first;
        Count = count;
    }

    /// <summary>The first identifier.</summary>
    public SmcFunctionId First { get; }

    /// <summary>How many identifiers, at least 1.</summary>
    public uint Count { get; }

    /// <summary>The last identifier.</summary>
    public SmcFunctionId Last => new(First.Value + (Count - 1));

    /// <summary>All 65,536 numbers of an owning entity and call type, as SMC32, with and without the hint.</summary>
    /// <param name="isFast">Whether fast or yielding calls.</param>
    /// <param name="owner">The owning entity, 0–63.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="owner"/> is outside 0–63.</exception>
    /// <remarks>KVM's SMCCC filter compares all 32 bits, those with the hint of SMCCC 1.3 too.</remarks>
    public static SmcFunctionRange OfOwner(bool isFast, int owner) =>
        new(SmcFunctionId.Create(isFast, owner, 0), 0x2_0000);

    /// <summary>Whether <paramref name="functionId"/> lies in the range.</summary>
    public bool Contains(SmcFunctionId functionId) => functionId.Value - First.Value < Count;

    /// <summary>Whether the two ranges share an identifier.</summary>
    /// <param name="other">The other range.</param>
    public bool Overlaps(SmcFunctionRange other) => First.Value <= other.Last.Value && other.First.Value <= Last.Value;

    /// <inheritdoc/>
    public override string ToString() => $"{First}–{Last}";
}
