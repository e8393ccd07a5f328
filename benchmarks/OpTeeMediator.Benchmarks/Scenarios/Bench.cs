using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>A guest with a backend that completes at once, and a driver that has started.</summary>
public sealed class Bench : IDisposable
{
    private const ulong RamStart = 0x4000_0000;
    private const ulong RamSize = 256 << 20;
    private const ulong DriverPages = 64 << 20;

    private readonly MemfdGuestMemory _memory = MemfdGuestMemory.Create(new GuestRange(RamStart, RamSize));

    public Bench(ITeeBackend backend, int drivers) : this(backend, drivers, new OpTeeGuestOptions())
    {
    }

    public Bench(ITeeBackend backend, int drivers, OpTeeGuestOptions options)
    {
        Guest = new OpTeeGuest(_memory, backend, options);
        Drivers = new FakeDriver[drivers];
        for (int index = 0; index < drivers; index++)
        {
            Drivers[index] =
                new FakeDriver(Guest, _memory, new GuestRange(RamStart + ((ulong)index * DriverPages), DriverPages));
        }
    }

    public OpTeeGuest Guest { get; }

    public FakeDriver[] Drivers { get; }

    /// <summary>Makes an SMC that must be answered OK.</summary>
    public static void Call(OpTeeGuest guest, in SmcRegisters call)
    {
        SmcRegisters registers = call;
        _ = guest.Handle(ref registers, SmcRegisterSet.All);
        while (registers.X0 is OpTeeSmc.ReturnRpcForeignInterrupt or OpTeeSmc.ReturnRpcCommand)
        {
            registers.X0 = OpTeeSmc.ReturnFromRpc;
            _ = guest.Handle(ref registers, SmcRegisterSet.All);
        }

        if (registers.X0 != 0)
        {
            throw new InvalidOperationException($"{call.FunctionId} was answered 0x{registers.X0:x}.");
        }
    }

    public static SmcRegisters Registers(uint functionId, ulong pair, ulong x3)
    {
        SmcRegisters registers = default;
        registers.X0 = functionId;
        registers.X1 = pair >> 32;
        registers.X2 = (uint)pair;
        registers.X3 = x3;
        return registers;
    }

    public void Dispose()
    {
        Guest.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _memory.Dispose();
    }
}
