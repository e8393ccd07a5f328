namespace OpTeeMediator.Tests.Conformance;

/// <summary>A buffer that the guest shares: pages that are not adjacent, seen as one range of bytes.</summary>
/// <param name="Name">A name for the text of failures.</param>
/// <param name="Cookie">The number that identifies it. Linux uses the address of a kernel object.</param>
/// <param name="FirstOffset">Where it begins in its first page.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="Pages">Its pages, in order.</param>
internal sealed record SharedBuffer(string Name, ulong Cookie, ulong FirstOffset, ulong Length, params ulong[] Pages)
{
    public const ulong PageSize = 4096;

    public ulong AddressOf(ulong offset) =>
        Pages[(FirstOffset + offset) / PageSize] + ((FirstOffset + offset) % PageSize);
}
