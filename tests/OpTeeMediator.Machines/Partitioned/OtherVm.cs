using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>A second VM beside Linux, with memory and a number of its own, whose driver is this process.</summary>
public sealed class OtherVm : IAsyncDisposable
{
    private const int PagesOfBuffer = 300;
    private const int FreeBlocks = 1;
    private const ulong BlockSize = 2 << 20;

    // OP-TEE's own device enumeration, and an application that nobody has: OP-TEE asks the guest for it.
    private static readonly Guid Enumeration = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");
    private static readonly Guid Unknown = new("00000000-dead-4711-8111-000000000001");

    public OtherVm(PartitionedMachine machine, HostOpTee opTee)
    {
        Memory = machine.CreateOtherMemory();
        Forwarder = new OpTeeForwarder(opTee, Memory, Memory, new OpTeeForwarderOptions { Name = "other" });
        Driver = new FakeDriver(Forwarder, Memory,
            new GuestRange(Memory.Range.Start, Memory.Range.Length - (FreeBlocks * BlockSize)))
        {
            Conduit = OpTeeSmc.CallWithRpcArgument,
        };
        Driver.OnRpc = new RpcServices(Driver).Serve;
        Pages = Driver.AllocatePages(PagesOfBuffer, 2);
    }

    public PartitionedMemory Memory { get; }

    public OpTeeForwarder Forwarder { get; }

    public FakeDriver Driver { get; }

    /// <summary>Scattered pages for a buffer.</summary>
    public ulong[] Pages { get; }

    /// <summary>A page in a block that the driver does not use.</summary>
    public ulong FreePage => Memory.Range.End.Value - BlockSize;

    /// <summary>Where RPC messages lie in the driver's page during <see cref="StartUntilRpc"/>.</summary>
    public static int RpcOffset => OpTeeMessage.Size(Opening.Parameters.Length);

    /// <summary>The message of a call that asks the guest for an application.</summary>
    public static GuestMessage Opening => FakeDriver.Opening(Unknown, default, 0);

    /// <summary>Opens a session of the device enumeration and returns its id.</summary>
    public uint OpenEnumeration()
    {
        GuestMessage answer = Driver.OpenSession(Enumeration);
        return answer.ReturnCode == 0 ? answer.Session
            : throw new InvalidOperationException($"OP-TEE answered 0x{answer.ReturnCode:x} to OPEN_SESSION.");
    }

    /// <summary>Starts a call that asks the guest for an application, and leaves it at the first RPC
    /// that is no interrupt.</summary>
    public SmcRegisters StartUntilRpc()
    {
        SmcRegisters registers = Driver.Start(Opening);
        while ((uint)registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            registers = Driver.Step(registers);
        }

        return (uint)registers.X0 == OpTeeSmc.ReturnRpcCommand ? registers
            : throw new InvalidOperationException($"OP-TEE answered 0x{registers.X0:x}.");
    }

    public ValueTask DisposeAsync() => Forwarder.DisposeAsync();
}
