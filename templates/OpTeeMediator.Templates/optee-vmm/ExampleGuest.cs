using System.Runtime.InteropServices;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeVmm;

/// <summary>Makes the calls of a guest: a driver of OP-TEE, and a client of a trusted application.</summary>
internal sealed class ExampleGuest
{
    /// <summary>OP-TEE's example hello_world.</summary>
    public static readonly Guid HelloWorld = new("8aaaf200-2450-11e4-abe2-0002a5d5c51b");

    // Where the guest writes its message (struct optee_msg_arg), and what it finds there.
    private const ulong Message = 0x4000_0000;
    private const ulong Session = Message + 8;
    private const ulong Return = Message + 20;
    private const ulong FirstValue = Message + 40;
    private const uint Meta = OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta;

    private readonly IGuestMemory _memory;
    private readonly VirtualCpu _vcpu;
    private readonly uint _session;

    /// <summary>Starts the driver, and opens a session with the application.</summary>
    public ExampleGuest(IGuestMemory memory, VirtualCpu vcpu)
    {
        _memory = memory;
        _vcpu = vcpu;
        Smc(OpTeeSmc.ExchangeCapabilities);
        byte[] uuid = HelloWorld.ToByteArray(bigEndian: true);
        Send(
            OpTeeMessage.CommandOpenSession,
            [Meta, BitConverter.ToUInt64(uuid), BitConverter.ToUInt64(uuid, 8), 0],
            [Meta, 0, 0, 0]);
        _session = Read<uint>(Session);
    }

    /// <summary>Has the application add 1.</summary>
    public ulong Increment(ulong value)
    {
        Send(OpTeeMessage.CommandInvoke, [OpTeeMessage.TypeValueInOut, value, 0, 0]);
        return Read<ulong>(FirstValue);
    }

    // Parameters are four numbers: attribute, a, b, c.
    private void Send(uint command, params ReadOnlySpan<ulong[]> parameters)
    {
        Write<uint>(Message, [command, 0, _session, 0, 0, 0, 0, (uint)parameters.Length]);
        for (int i = 0; i < parameters.Length; i++)
        {
            Write<ulong>(Message + (ulong)OpTeeMessage.Size(i), parameters[i]);
        }

        ulong answer = Smc(OpTeeSmc.CallWithArgument, Message >> 32, (uint)Message);
        if (answer != OpTeeSmc.ReturnOk || Read<uint>(Return) != 0)
        {
            throw new InvalidOperationException($"The TEE answered 0x{answer:x}, 0x{Read<uint>(Return):x}.");
        }
    }

    private ulong Smc(uint function, ulong x1 = 0, ulong x2 = 0)
    {
        _vcpu.X.Clear();
        _vcpu.X[0] = function;
        _vcpu.X[1] = x1;
        _vcpu.X[2] = x2;
        _vcpu.HandleSmc();
        while (_vcpu.X[0] == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            // The guest takes its interrupts, then resumes the call; X1 to X3 are as they came.
            _vcpu.X[0] = OpTeeSmc.ReturnFromRpc;
            _vcpu.HandleSmc();
        }

        return _vcpu.X[0];
    }

    private T Read<T>(ulong address)
        where T : unmanaged
    {
        Span<T> value = stackalloc T[1];
        return _memory.TryRead(address, MemoryMarshal.AsBytes(value))
            ? value[0]
            : throw new ArgumentException($"0x{address:x} is not in the guest's RAM.");
    }

    private void Write<T>(ulong address, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        if (!_memory.TryWrite(address, MemoryMarshal.AsBytes(values)))
        {
            throw new ArgumentException($"0x{address:x} is not in the guest's RAM.");
        }
    }
}
