using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>What OpTeeMediator.Kvm does with a real KVM, that of the machine.</summary>
[TestFixture]
internal sealed class KvmTests : MachineFixture
{
    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false };

    [TestCase("registers")]
    [TestCase("mp-state")]
    [TestCase("dirty-log")]
    [TestCase("capability")]
    [TestCase("interrupt-file")]
    [TestCase("io-event-file")]
    [TestCase("gic-state")]
    [TestCase("vm-state")]
    [TestCase("smccc-filter")]
    [TestCase("litmus")]
    public async Task KvmChecks_OfOneKind_Pass(string name)
    {
        CommandResult result = await Machine.RunAsync($"{MachineFiles.KvmChecks} {name}", seconds: 300);

        TestContext.Out.WriteLine(result.Output);
        Assert.That(result.Succeeded(), Does.Contain($"{name} passed"));
    }
}
