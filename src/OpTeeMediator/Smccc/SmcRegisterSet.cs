using System.Numerics;
using System.Text;

namespace OpTeeMediator.Smccc;

/// <summary>A set of the registers X0–X17.</summary>
/// <remarks>Tells which registers a call needs or has changed, because on arm64 KVM each register that is read or
/// written is a system call. Bit n of <paramref name="Bits"/> stands for Xn. Immutable, hence thread-safe.</remarks>
/// <param name="Bits">Bit n set: Xn is in the set. Bits 18 and up are zero.</param>
public readonly record struct SmcRegisterSet(uint Bits)
{
    /// <summary>No register.</summary>
    public static SmcRegisterSet None => default;

    /// <summary>X0 alone.</summary>
    public static SmcRegisterSet X0 => new(1);

    /// <summary>X0 to X17.</summary>
    public static SmcRegisterSet All => new((1u << SmcRegisters.Count) - 1);

    /// <summary>The registers from <paramref name="first"/> to <paramref name="last"/>.</summary>
    /// <param name="first">The index of the first register, 0–17.</param>
    /// <param name="last">The index of the last register, <paramref name="first"/>–17.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index is out of its range.</exception>
    public static SmcRegisterSet Range(int first, int last)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(last, SmcRegisters.Count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first, last);
        return new SmcRegisterSet((1u << last + 1) - (1u << first));
    }

    /// <summary>How many registers are in the set.</summary>
    public int Count => BitOperations.PopCount(Bits);

    /// <summary>Whether the set is empty.</summary>
    public bool IsEmpty => Bits == 0;

    /// <summary>Whether every register of <paramref name="other"/> is in this set.</summary>
    public bool Contains(SmcRegisterSet other) => (other.Bits & ~Bits) == 0;

    /// <summary>The registers of this set that are not in <paramref name="other"/>.</summary>
    public SmcRegisterSet Except(SmcRegisterSet other) => new(Bits & ~other.Bits);

    /// <summary>Both sets together.</summary>
    /// <param name="other">The registers to add.</param>
    public SmcRegisterSet Union(SmcRegisterSet other) => new(Bits | other.Bits);

    /// <summary>Takes the lowest register out of a set, for loops over it.</summary>
    /// <param name="set">The set, which loses the register.</param>
    /// <param name="index">The index of the register, 0–17.</param>
    /// <returns><see langword="false"/> if the set was empty.</returns>
    public static bool TryTakeFirst(ref SmcRegisterSet set, out int index)
    {
        index = BitOperations.TrailingZeroCount(set.Bits);
        bool any = set.Bits != 0;
        set = new SmcRegisterSet(set.Bits & (set.Bits - 1));
        return any;
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        StringBuilder text = new();
        SmcRegisterSet rest = this;
        while (TryTakeFirst(ref rest, out int index))
        {
            _ = text.Append(text.Length == 0 ? "X" : " X").Append(index);
        }

        return text.Length == 0 ? "none" : text.ToString();
    }
}
