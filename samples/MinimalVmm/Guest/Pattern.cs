namespace MinimalVmm.Guest;

/// <summary>A sequence of bytes that a guest can produce with an addition and a shift, forwards and backwards.</summary>
/// <remarks>
/// A Weyl sequence: byte n is the top byte of <c>First + n × Step</c>. It does not repeat within 2³² bytes, so that a page in the wrong place is noticed.
/// </remarks>
/// <param name="First">The number whose top byte is the first byte.</param>
/// <param name="Step">What is added from byte to byte.</param>
internal readonly record struct Pattern(uint First, uint Step)
{
    /// <summary>All bytes the same.</summary>
    public static Pattern Constant(byte value) => new((uint)value << 24, 0);

    /// <summary>The sequence from a byte on.</summary>
    public Pattern From(ulong offset) => this with { First = unchecked(First + ((uint)offset * Step)) };

    /// <summary>The first <paramref name="length"/> bytes, last one first.</summary>
    public Pattern Reversed(ulong length) => new(From(length - 1).First, unchecked(0 - Step));
}
