using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Where the tests of memory files put guest RAM.</summary>
internal static class TwoRegions
{
    public const ulong Start = 0x4000_0000;

    // 64 KiB, so that the tests hold on hosts with pages of 4, 16 and 64 KiB.
    public const ulong Size = 0x1_0000;

    public static readonly GuestRange First = new(Start, Size);
    public static readonly GuestRange Next = new(Start + Size, Size);
    public static readonly GuestRange Apart = new(Start + (4 * Size), Size);
}
