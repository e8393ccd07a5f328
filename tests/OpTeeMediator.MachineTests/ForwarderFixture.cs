using OpTeeMediator.Forwarding;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.MachineTests;

/// <summary>Linux on a partitioned machine, its calls forwarded to the real OP-TEE built for virtualization;
/// tee-supplicant runs in it.</summary>
public abstract class ForwarderFixture(PartitionedMachineOptions options) : PartitionedFixture(options)
{
    private HostOpTee? _opTee;

    /// <summary>The OP-TEE of the machine.</summary>
    protected HostOpTee OpTee => _opTee ?? throw new InvalidOperationException("The machine is not on.");

    /// <summary>Linux' forwarder.</summary>
    protected OpTeeForwarder Forwarder => (OpTeeForwarder)Recording.Inner;

    /// <summary>What Linux' driver has said.</summary>
    protected RecordingHandler Recording =>
        (RecordingHandler)(Handler ?? throw new InvalidOperationException("The machine is not on."));

    /// <summary>All SMCs that the secure world has seen.</summary>
    protected RecordingMonitor? Monitor { get; private set; }

    protected override string Subject => "`OpTeeForwarder`";

    protected override ISmcHandler CreateHandler()
    {
        Monitor = new RecordingMonitor(Machine.Monitor);
        _opTee = new HostOpTee(Monitor);
        return new RecordingHandler(new OpTeeForwarder(_opTee, Machine.Memory, Machine.Memory, Options));
    }

    /// <summary>How Linux' calls are forwarded.</summary>
    protected virtual OpTeeForwarderOptions Options => new() { Name = "linux" };

    protected override async Task StartAsync() => (await Machine.RunAsync("tee-supplicant -d")).Succeeded();
}
