using OpTeeMediator.Backends;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.MachineTests;

/// <summary>U-Boot whose calls are forwarded to the real OP-TEE built for virtualization.</summary>
[TestFixture]
internal sealed class UBootForwarderTests() : UBootFixture(hasSecureWorld: true)
{
    protected override string Subject => "`OpTeeForwarder`";

    protected override OpTeeGuestStatus Status => ((OpTeeForwarder)Recording.Inner).Status;

    protected override ISmcHandler CreateMediator() =>
        new OpTeeForwarder(new HostOpTee(Machine.Monitor), Machine.Memory, Machine.Memory,
            new OpTeeForwarderOptions { Name = "u-boot" });

    /// <summary>OP-TEE looks for an application that it does not have in its secure storage and then in the file
    /// system, both of which are the guest's.</summary>
    /// <returns>A task.</returns>
    [Test]
    public async Task OpenSession_ApplicationThatOpTeeLooksForInTheGuest_RpcsAreServed()
    {
        (string output, RecordedRpc[] rpcs) = await CallAsync(Unknown, 0, 0, 0);

        Assert.That(
            rpcs,
            Is.EqualTo([
                new RecordedRpc(OpTeeRpc.AllocateSharedMemory, TeeReturnCode.Success),
                new(OpTeeRpc.FileSystem, TeeReturnCode.StorageNotAvailable),
                new(OpTeeRpc.LoadApplication, TeeReturnCode.NotImplemented),
                new(OpTeeRpc.FreeSharedMemory, TeeReturnCode.Success),
            ]));
        Assert.That(output, Does.Contain($"open: error 0, code {(uint)TeeReturnCode.NotImplemented:x}, origin 3"),
            "U-Boot's own answer, by way of OP-TEE.");
    }
}
