using System.Globalization;
using OpTeeMediator.Tests.Linux;

namespace OpTeeMediator.Tests.Samples;

/// <summary>The sample's guest, on both machines.</summary>
[TestFixture]
internal sealed class MinimalVmmTests
{
    private const string Calls = """
        EXCHANGE_CAPABILITIES → 0
        CALL_WITH_ARG: REGISTER_SHM → 0
        CALL_WITH_ARG: OPEN_SESSION → 0
        CALL_WITH_ARG: INVOKE_COMMAND → 0
        CALL_WITH_ARG: CLOSE_SESSION → 0
        CALL_WITH_ARG: UNREGISTER_SHM → 0
        Hello from OP-TEE!

        """;

    [Test]
    public async Task Run_Managed_GuestGetsItsTextReversed()
    {
        (int exitCode, string output) = await RunAsync(isManaged: true);

        Assert.That(exitCode, Is.Zero, output);
        Assert.That(output, Is.EqualTo($"The guest's machine code is interpreted.\n{Calls}"));
    }

    [Test]
    public async Task Run_Kvm_GuestGetsItsTextReversed()
    {
        KvmHost.OpenX86().Dispose();

        (int exitCode, string output) = await RunAsync(isManaged: false);

        Assert.That(exitCode, Is.Zero, output);
        Assert.That(output, Is.EqualTo($"The guest runs in a VM of KVM.\n{Calls}"));
    }

    private static async Task<(int ExitCode, string Output)> RunAsync(bool isManaged)
    {
        await using StringWriter output = new(CultureInfo.InvariantCulture);
        int exitCode = await MinimalVmm.Program.RunAsync(output, isManaged);

        // On a busy computer a call may be preempted, and then the guest resumes it (RETURN_FROM_RPC).
        const string Resumption = "→ ffff0004\nSMC 32000003 →";
        string text = output.ToString();
        while (text.Contains(Resumption, StringComparison.Ordinal))
        {
            text = text.Replace(Resumption, "→", StringComparison.Ordinal);
        }

        return (exitCode, text);
    }
}
