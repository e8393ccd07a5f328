namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>What one call executes, from its entry to its return.</summary>
internal sealed class ExecutedCall(IReadOnlyList<ExecutedInstruction> instructions, IReadOnlySet<ulong> permittedNative)
{
    // The only method of the framework that the path of a call needs: it copies the message.
    private const string Copy = "System.SpanHelpers::Memmove(";

    // A handler's own code, the guest memory's, and the backend's, which answers at once.
    private const string Product = "OpTeeMediator.";

    /// <summary>Whether all of it is the tiered compiler's last word.</summary>
    public bool IsFinal => instructions.All(one => one.Code is not { IsFinal: false });

    /// <summary>Whose instructions they are, and how many.</summary>
    public IEnumerable<string> Shares => instructions.GroupBy(NameOf).Select(part => $"{part.Count(),5} {part.Key}");

    /// <summary>How many instructions, a repeated one counted once.</summary>
    public int Count => instructions.Where((one, index) => index == 0
        || one.Instruction.IP != instructions[index - 1].Instruction.IP).Count();

    /// <summary>The instructions that keep the other processors off, in their order.</summary>
    public IEnumerable<ExecutedInstruction> Locked => instructions.Where(one => one.IsLocked);

    /// <summary>Where the path enters code that is not to be in it: of the framework, or the runtime's own, which
    /// allocates, boxes and throws.</summary>
    public IEnumerable<string> FindForeign()
    {
        ExecutedInstruction previous = instructions[0];
        foreach (ExecutedInstruction one in instructions)
        {
            bool isEntered = previous.IsCall || (previous.IsJump && one.Code != previous.Code);
            if (isEntered && !IsPermitted(one))
            {
                yield return $"0x{one.Instruction.IP:x}, {NameOf(one)}, is entered by {NameOf(previous)}";
            }

            previous = one;
        }
    }

    private static string NameOf(ExecutedInstruction one) => one.Code?.Name ?? "native code";

    private bool IsPermitted(ExecutedInstruction one) => one.Code switch
    {
        null => permittedNative.Contains(one.Instruction.IP),
        { IsStub: true } => true,
        _ => one.Code.IsOf(Product) || one.Code.IsOf(Copy),
    };
}
