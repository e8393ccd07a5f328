using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>One VM of a <see cref="ForwarderBench"/>.</summary>
internal sealed record ForwardedVm(ForwarderBench Bench, PartitionedMemory Memory, OpTeeForwarder Forwarder,
    FakeDriver Driver)
{
    /// <summary>What OP-TEE has of it.</summary>
    public FakePartition Partition => Bench.OpTee.PartitionOf(Forwarder.VirtualMachineId);

    public OpTeeGuestStatus Status => Forwarder.Status;

    /// <summary>Opens a session and returns its id.</summary>
    public uint Open()
    {
        GuestMessage answer = Driver.OpenSession(ForwarderBench.Application);
        Assert.That(answer.ReturnCode, Is.Zero, "The session should open.");
        return answer.Session;
    }

    /// <summary>Registers scattered pages and returns them.</summary>
    public ulong[] Share(ulong cookie, int pages)
    {
        ulong[] addresses = Driver.AllocatePages(pages, 2);
        GuestMessage answer = Driver.Register(addresses, 0, (ulong)pages * OpTeeMessage.PageSize, cookie);
        Assert.That(answer.ReturnCode, Is.Zero, "The registration should succeed.");
        return addresses;
    }

    public ulong[] PhysicalOf(IEnumerable<ulong> addresses) =>
        [.. addresses.Select(address => Memory.PhysicalOf(address))];

    /// <summary>Starts a call with a page of its own and leaves it where it is.</summary>
    public SmcRegisters Start(GuestMessage message, out ulong page)
    {
        page = Driver.AllocatePage();
        Driver.WriteMessage(page, message);
        return Driver.Call(OpTeeSmc.CallWithRpcArgument, page >> 32, page);
    }

    public SmcRegisters Resume(ulong information) => Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, information);

    public static GuestMessage Invocation(uint session, params GuestParameter[] parameters) =>
        new(OpTeeMessage.CommandInvoke, parameters) { Session = session };
}
