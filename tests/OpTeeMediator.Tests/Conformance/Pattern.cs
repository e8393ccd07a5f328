namespace OpTeeMediator.Tests.Conformance;

/// <summary>A sequence of bytes, which can be computed forwards and backwards.</summary>
/// <remarks>
/// A Weyl sequence: byte n is the top byte of <c>First + n × Step</c>. It does not repeat within 2³² bytes, so that a
/// page in the wrong place is noticed.
/// </remarks>
/// <param name="First">The number whose top byte is the first byte.</param>
/// <param name="Step">What is added from byte to byte.</param>
internal readonly record struct Pattern(uint First, uint Step)
{
    public byte this[ulong index] => (byte)(unchecked(First + ((uint)index * Step)) >> 24);

    public static Pattern Constant(byte value) => new((uint)value << 24, 0);

    /// <summary>The first <paramref name="length"/> bytes, last one first.</summary>
    public Pattern Reversed(ulong length) => unchecked(new(First + ((uint)(length - 1) * Step), 0 - Step));
}
