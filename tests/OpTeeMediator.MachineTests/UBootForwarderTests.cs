using OpTeeMediator.Backends;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Guests;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.MachineTests;

/// <summary>U-Boot whose calls are forwarded to the real OP-TEE built for virtualization.</summary>
[TestFixture]
internal sealed class UBootForwarderTests() : UBootFixture(hasSecureWorld: true)
{
    protected override OpTeeGuestStatus Status => ((OpTeeForwarder)Recording.Inner).Status;

    protected override ISmcHandler CreateMediator() =>
        new OpTeeForwarder(new VirtualizedOpTee(Machine.Monitor), Machine.Memory, Machine.Memory, new OpTeeForwarderOptions { Name = "u-boot" });

    [Test]
    public async Task ApplicationOfTheFileSystem_RpcsAreServedAndItIsNotFound()
    {
        (string output, RecordedRpc[] rpcs) = await CallAsync(Unknown, 0, 0, 0);

        TestContext.Out.WriteLine($"{output}\n{string.Join('\n', rpcs)}");
        Assert.That(output, Does.Contain($"open: error 0, code {(uint)TeeReturnCode.ItemNotFound:x}"));
    }
}
