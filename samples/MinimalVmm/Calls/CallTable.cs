using MinimalVmm.Guest;
using OpTeeMediator.Smccc;

namespace MinimalVmm.Calls;

/// <summary>Prints the guest's calls as a table of 140 columns: registers in, registers out, and what they meant.</summary>
internal sealed class CallTable(TextWriter output)
{
    private const int MeaningColumn = 90;
    private const int MeaningWidth = 50;
    private int _step;

    /// <summary>How many calls were printed.</summary>
    public int Calls { get; private set; }

    /// <summary>Prints the head.</summary>
    public void PrintHead()
    {
        output.WriteLine($"{"call",-25}{"X1",8} {"X2",8} {"X3",8} → {"X0",8} {"X1",8} {"X2",8} {"X3",8}  what it means (all numbers are hexadecimal)");
        output.WriteLine(new string('─', MeaningColumn + MeaningWidth));
    }

    /// <summary>Prints a call, and before it the guest's step if that is a new one.</summary>
    /// <param name="step">The step that the call belongs to.</param>
    /// <param name="before">X0–X7 when the guest called.</param>
    /// <param name="after">X0–X7 when the call returned. X4–X7 are not printed: the guest checks that they are what they were, zero.</param>
    /// <param name="meaning">One or more lines of text.</param>
    public void Print(Check step, in SmcRegisters before, in SmcRegisters after, string meaning)
    {
        if (step.Step != _step)
        {
            _step = step.Step;
            output.WriteLine($"step {step.Step}: {step.StepName}");
        }

        string registers = $"{++Calls,3} {(OpTeeFunction)before.FunctionId.Value,-21}"
            + $"{before.X1,8:x} {before.X2,8:x} {before.X3,8:x} → {after.X0,8:x} {after.X1,8:x} {after.X2,8:x} {after.X3,8:x}";
        foreach (string line in meaning.Split('\n').SelectMany(Wrap))
        {
            output.WriteLine($"{registers.PadRight(MeaningColumn)}{line}");
            registers = string.Empty;
        }
    }

    private static IEnumerable<string> Wrap(string line)
    {
        while (line.Length > MeaningWidth && line.LastIndexOf(' ', MeaningWidth) is > 0 and int end)
        {
            yield return line[..end];
            line = "   " + line[(end + 1)..];
        }

        yield return line;
    }
}
