using System.Globalization;
using System.Text.RegularExpressions;

namespace OpTeeMediator.Machines.Measurements;

/// <summary>What the VMM says at its end of the calls of the TEE that its guest has made.</summary>
/// <param name="Calls">Their number.</param>
/// <param name="ReadsPerCall">How many registers were read for each.</param>
/// <param name="WritesPerCall">How many registers were written for each.</param>
public sealed partial record RegisterAccesses(int Calls, double ReadsPerCall, double WritesPerCall)
{
    /// <summary>Finds it in the VMM's messages.</summary>
    /// <param name="messages">The messages.</param>
    /// <returns>What they say.</returns>
    public static RegisterAccesses Read(string messages)
    {
        Match match = Summary().Match(messages);
        return match.Success
            ? new RegisterAccesses(int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture),
                Number(match.Groups[2]), Number(match.Groups[3]))
            : throw new FormatException($"expected the VMM's account of its guest's calls, found: {messages}");
    }

    private static double Number(Group group) => double.Parse(group.Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"made (\d+) calls of the TEE; registers read per call: ([\d.]+), written: ([\d.]+)\.")]
    private static partial Regex Summary();
}
