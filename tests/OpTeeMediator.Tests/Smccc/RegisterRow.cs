using OpTeeMediator.Guests;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Smccc;

/// <summary>One way one SMC ends: what it is given, what it needs to see, what it changes.</summary>
internal sealed record RegisterRow(string Name, uint FunctionId)
{
    /// <summary>The call's arguments by register; the others hold sentinels.</summary>
    public IReadOnlyDictionary<int, ulong> Call { get; init; } = new Dictionary<int, ulong>();

    /// <summary>The registers that the handler must see, by its documentation.</summary>
    public SmcRegisterSet Needs { get; init; } = SmcRegisterSet.X0;

    /// <summary>The results by register; every other register is preserved.</summary>
    public required IReadOnlyDictionary<int, ulong> Return { get; init; }

    public OpTeeGuestOptions Options { get; init; } = new();

    /// <summary>What must have happened before.</summary>
    public Action<GuestBench> Before { get; init; } = _ => { };

    public SmcRegisterSet Changes => new((uint)Return.Keys.Sum(index => 1 << index));

    public override string ToString() => Name;
}
