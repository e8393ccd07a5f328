using System.Collections.Immutable;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Protocol;

/// <summary>Which function identifiers are OP-TEE's: the trusted OS (owner 50, fast and yielding) and its
/// identification (owner 63, fast), SMC32.</summary>
internal static class OpTeeFunctions
{
    // Bits 17 to 23 of a function identifier: no call of ours has one set. Bit 16 is a hint (SMCCC 1.3).
    private const uint ReservedBits = 0x00fe_0000;

    public static ImmutableArray<SmcFunctionRange> Ranges { get; } =
    [
        SmcFunctionRange.OfOwner(isFast: false, OpTeeSmc.OwnerTrustedOs),
        SmcFunctionRange.OfOwner(isFast: true, OpTeeSmc.OwnerTrustedOs),
        SmcFunctionRange.OfOwner(isFast: true, OpTeeSmc.OwnerTrustedOsApi),
    ];

    // The same set as Ranges, as a test shows.
    public static bool Contains(SmcFunctionId id) =>
        !id.IsSmc64 && (id.Value & ReservedBits) == 0
            && (id.Owner == OpTeeSmc.OwnerTrustedOs || (id.IsFast && id.Owner == OpTeeSmc.OwnerTrustedOsApi));
}
