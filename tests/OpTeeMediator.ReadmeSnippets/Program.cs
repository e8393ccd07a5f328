using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Vmm;

// The VM's RAM, a TEE with one trusted application, and the VM's OP-TEE.
using var memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 2 << 20));
var tee = new SoftwareTeeBackend(new SoftwareTeeOptions().Add(new(Adder.Uuid), () => new Adder()));
await using IGuestOpTee optee = new OpTeeGuest(memory, tee, new() { Access = TeeAccess.Only(Adder.Uuid) });

// A vCPU loop would pass on a guest's SMCs. Here the program makes those of a guest's driver: open a session, add.
const ulong Message = 0x4000_0000;
const uint Meta = OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta;
byte[] uuid = Adder.Uuid.ToByteArray(bigEndian: true);
Smc(OpTeeSmc.ExchangeCapabilities);
Send(OpTeeMessage.CommandOpenSession, 0,
    [Meta, BitConverter.ToUInt64(uuid), BitConverter.ToUInt64(uuid, 8), 0], [Meta, 0, 0, 0]);
memory.TryRead(Message + 8, out uint session);
Send(OpTeeMessage.CommandInvoke, session, [OpTeeMessage.TypeValueInOut, 20, 22, 0]);
memory.TryRead(Message + 40, out ulong sum);
Console.WriteLine($"The guest's trusted application says that 20 + 22 = {sum}.");

void Send(uint command, uint session, params ReadOnlySpan<ulong[]> parameters)
{
    memory.TryWrite(Message, MemoryMarshal.AsBytes<uint>([command, 0, session, 0, 0, 0, 0, (uint)parameters.Length]));
    for (int i = 0; i < parameters.Length; i++)
    {
        memory.TryWrite(Message + (ulong)OpTeeMessage.Size(i), MemoryMarshal.AsBytes<ulong>(parameters[i]));
    }

    Smc(OpTeeSmc.CallWithArgument, Message >> 32, (uint)Message);
}

void Smc(uint function, ulong x1 = 0, ulong x2 = 0)
{
    var registers = new SmcRegisters { X0 = function, X1 = x1, X2 = x2 };
    optee.Handle(ref registers);
    while (registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt) // the guest takes its interrupts, then resumes the call
    {
        registers.X0 = OpTeeSmc.ReturnFromRpc;
        optee.Handle(ref registers);
    }
}

internal sealed class Adder : TrustedApplication
{
    public static readonly Guid Uuid = new("c5bd7b0e-5a0c-4c43-9d3a-0d2a4a1d5f11");

    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        if (!call.HasParameters(TeeParameterKind.ValueInOut))
        {
            return TeeReturnCode.BadParameters;
        }

        call[0].A += call[0].B;
        return TeeReturnCode.Success;
    }
}
