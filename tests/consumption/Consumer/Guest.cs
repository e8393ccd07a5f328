using System.Runtime.InteropServices;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace Consumer;

/// <summary>The guest: its RAM, and the SMCs that its driver makes.</summary>
internal sealed class Guest : IDisposable
{
    private const ulong Message = 0x4000_0000;
    private const uint Meta = OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta;

    // Offsets in struct optee_msg_arg: session, ret; a of the first parameter.
    private const ulong Session = 8;
    private const ulong Return = 20;
    private const ulong FirstValue = 40;

    public MemfdGuestMemory Memory { get; } = MemfdGuestMemory.Create(new GuestRange(Message, 2 << 20));

    public void Dispose() => Memory.Dispose();

    /// <summary>Opens a session with an application.</summary>
    public uint Open(ISmcHandler optee, Guid application)
    {
        byte[] uuid = application.ToByteArray(bigEndian: true);
        Send(
            optee,
            OpTeeMessage.CommandOpenSession,
            0,
            0,
            [Meta, BitConverter.ToUInt64(uuid), BitConverter.ToUInt64(uuid, 8), 0],
            [Meta, 0, 0, 0]);
        return Read<uint>(Session);
    }

    /// <summary>Sends a number to an application, and returns the number that it answers.</summary>
    public ulong Invoke(ISmcHandler optee, uint session, uint command, ulong value)
    {
        Send(optee, OpTeeMessage.CommandInvoke, command, session, [OpTeeMessage.TypeValueInOut, value, 0, 0]);
        return Read<ulong>(FirstValue);
    }

    /// <summary>Makes an SMC, as often as its answer says.</summary>
    public static ulong Smc(ISmcHandler optee, uint function, ulong x1 = 0, ulong x2 = 0)
    {
        SmcRegisters registers = new() { X0 = function, X1 = x1, X2 = x2 };
        _ = optee.Handle(ref registers);
        while (registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            registers.X0 = OpTeeSmc.ReturnFromRpc;
            _ = optee.Handle(ref registers);
        }

        return registers.X0;
    }

    private void Send(
        ISmcHandler optee, uint command, uint function, uint session, params ReadOnlySpan<ulong[]> parameters)
    {
        Write<uint>(Message, [command, function, session, 0, 0, 0, 0, (uint)parameters.Length]);
        for (int i = 0; i < parameters.Length; i++)
        {
            Write<ulong>(Message + (ulong)OpTeeMessage.Size(i), parameters[i]);
        }

        ulong result = Smc(optee, OpTeeSmc.CallWithArgument, Message >> 32, (uint)Message);
        if (result != OpTeeSmc.ReturnOk || Read<uint>(Return) != 0)
        {
            throw new InvalidOperationException($"X0 is 0x{result:x}, ret 0x{Read<uint>(Return):x}.");
        }
    }

    private T Read<T>(ulong offset)
        where T : unmanaged
    {
        Span<T> value = stackalloc T[1];
        return Memory.TryRead(Message + offset, MemoryMarshal.AsBytes(value))
            ? value[0]
            : throw new InvalidOperationException("Not in RAM.");
    }

    private void Write<T>(ulong address, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        if (!Memory.TryWrite(address, MemoryMarshal.AsBytes(values)))
        {
            throw new InvalidOperationException("Not in RAM.");
        }
    }
}
