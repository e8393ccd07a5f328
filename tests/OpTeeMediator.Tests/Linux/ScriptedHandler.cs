using System.Collections.Immutable;
using System.Globalization;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Linux;

/// <summary>A handler that answers with one outcome after the other and notes what it saw.</summary>
internal sealed class ScriptedHandler(params SmcOutcome[] outcomes) : ISmcHandler
{
    public ImmutableArray<SmcFunctionRange> Ranges { get; } =
        [SmcFunctionRange.OfOwner(isFast: false, 50), SmcFunctionRange.OfOwner(isFast: true, 50)];

    /// <summary>What it puts into X0 and up when it has handled a call.</summary>
    internal ulong[] Answer { get; init; } = [];

    /// <summary>For each call which registers were loaded, and X0–X7 in hexadecimal.</summary>
    internal List<(SmcRegisterSet Loaded, string Registers)> Calls { get; } = [];

    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        Calls.Add((loaded, string.Join(' ', ((ReadOnlySpan<ulong>)registers)[..8].ToArray()
            .Select(value => value.ToString("x", CultureInfo.InvariantCulture)))));
        SmcOutcome outcome = outcomes[Calls.Count - 1];
        for (int index = 0; outcome.Kind == SmcOutcomeKind.Handled && index < Answer.Length; index++)
        {
            registers[index] = Answer[index];
        }

        return outcome;
    }
}
