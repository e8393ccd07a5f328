using System.Runtime.CompilerServices;

namespace OpTeeMediator.Smccc;

/// <summary>The function identifier of an SMC or HVC: W0 at the call.</summary>
/// <remarks>
/// <code>
/// bit 31     1 fast call, 0 yielding call
/// bit 30     1 SMC64, 0 SMC32
/// bits 29:24 owning entity
/// bits 23:17 zero
/// bit 16     hint: 1 if the caller keeps no live SVE state (SMCCC 1.3)
/// bits 15:0  function number
/// </code>
/// Source: SMC Calling Convention (Arm DEN0028), "Function identifiers". Immutable, hence thread-safe.
/// </remarks>
/// <param name="Value">The 32-bit identifier.</param>
public readonly record struct SmcFunctionId(uint Value)
{
    /// <summary>Builds an identifier from its fields.</summary>
    /// <param name="isFast">Whether the call is atomic (fast) rather than yielding.</param>
    /// <param name="owner">The owning entity, 0–63.</param>
    /// <param name="number">The function number, 0–0xffff.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="owner"/> or <paramref name="number"/> does
    /// not fit its field.</exception>
    public static SmcFunctionId Create(bool isFast, int owner, int number)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(owner);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(owner, 63);
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(number, 0xffff);
        return new SmcFunctionId((isFast ? 1u << 31 : 0) | (uint)owner << 24 | (uint)number);
    }

    /// <summary>Whether the call is fast (atomic); otherwise it is yielding.</summary>
    public bool IsFast => (Value & (1u << 31)) != 0;

    /// <summary>Whether the call uses the SMC64 convention.</summary>
    public bool IsSmc64 => (Value & (1u << 30)) != 0;

    /// <summary>The owning entity, 0–63.</summary>
    public int Owner => (int)(Value >> 24) & 0x3f;

    /// <summary>The identifier without its hint (bit 16), which does not say which function is called.</summary>
    /// <remarks>A caller sets it if it keeps no live SVE state, which then need not be saved (SMCCC 1.3).</remarks>
    public SmcFunctionId WithoutHint
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Value & ~(1u << 16));
    }

    /// <summary>The function number, 0–0xffff.</summary>
    public int Number => (int)(Value & 0xffff);

    /// <inheritdoc/>
    public override string ToString() => $"0x{Value:x8}";
}
