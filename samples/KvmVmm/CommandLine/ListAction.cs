using System.CommandLine;
using System.CommandLine.Invocation;
using ExampleApplications;
using KvmVmm.Tee;

namespace KvmVmm.CommandLine;

/// <summary>What --list does: prints the applications of the software TEE.</summary>
internal sealed class ListAction : SynchronousCommandLineAction
{
    // The other options may be missing.
    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        parseResult.InvocationConfiguration.Output.WriteLine(string.Join(
            '\n',
            SumApplication.Description,
            GuestApplication.Description,
            StorageBenchmarkApplication.Description,
            ExampleApplicationOptions.Description));
        return 0;
    }
}
