using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.InterleavingTests;

/// <summary>A driver of a forwarded VM that starts, and calls that meet the end of the cleanup
/// after an earlier one.</summary>
[NonParallelizable]
internal sealed class DriverRestartTests
{
    private const ulong RamStart = 0x5000_0000;
    private const ulong BlockSize = 1 << 20;

    [Test]
    public async Task EnableShmCache_CleanupEndsBesideIt_ReachesOpTee()
    {
        ArrayRam ram = new(RamStart, 2 << 20);
        FakeOpTee opTee = new(ram);
        PartitionedMemory memory = new(ram, 0x4000_0000, BlockSize, [RamStart], RamStart + BlockSize, 256);
        await using OpTeeForwarder forwarder = new(new HostOpTee(opTee), memory, memory);
        using InterleavingController controller = new();
        FakeDriver driver = new(forwarder, memory, new GuestRange(0x4000_0000, BlockSize));
        bool computes = true;
        opTee.OnInvoke = _ => Compute(() => computes);
        uint session = driver.OpenSession(Guid.Empty).Session;
        _ = driver.Start(new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session });
        Assert.That(driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        computes = false;
        SmcRegisters enabled = default;
        controller.DoAt("DriverRestart.EndPiece: about to change the phase",
            () => enabled = driver.Call(OpTeeSmc.EnableShmCache));

        _ = driver.OpenSession(Guid.Empty);

        Assert.That(enabled.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(opTee.PartitionOf(forwarder.VirtualMachineId).CachesRpcBuffers);
    }

    private static IEnumerable<RpcStep> Compute(Func<bool> computes)
    {
        while (computes())
        {
            yield return RpcStep.ForeignInterrupt;
        }
    }
}
