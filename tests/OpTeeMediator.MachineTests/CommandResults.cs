using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>What tests expect of commands.</summary>
internal static class CommandResults
{
    /// <summary>Expects that a command succeeded.</summary>
    /// <param name="result">How it ended.</param>
    /// <returns>Its output.</returns>
    public static string Succeeded(this CommandResult result)
    {
        Assert.That(result.Status, Is.Zero, result.ToString());
        return result.Output;
    }
}
