using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>The reference of most measurements: what an invoke with four values costs at least, by any
/// mediator.</summary>
/// <remarks>
/// Takes one slot, copies the message, checks its header, decodes four values, fences, finds the session, calls it
/// through an interface, writes the results back, and frees the slot; without buffers, limits, pauses,
/// cancellation, logs, or a guest that may do anything. It has the measured code's mix of branches, loads that wait for
/// each other, calls, copies and locked instructions, and so slows down with whatever slows that down: a busy
/// other core, or a lower clock. A copy of 4 KiB does not: caches and their prefetching decide about it.
/// </remarks>
public sealed unsafe class BareInvoke : Scenario
{
    /// <summary>How often in a row it is done as the reference.</summary>
    public const int OperationsOfRound = 1000;

    private const int Parameters = 4;
    private const int Size = HeaderSize + (Parameters * ParameterSize);
    private const int HeaderSize = 8 * sizeof(uint);
    private const int ParameterSize = 4 * sizeof(ulong);
    private const int PageSize = 4096;
    private const int RamSize = 16 * PageSize;
    private const ulong RamStart = 0x4000_0000;
    private const ulong Message = RamStart + (8 * PageSize);
    private const uint SessionId = 3;

    // The private copy is 64 bytes off the message's offset in its page, so that loads never wait for stores of the
    // same low address bits: otherwise chance decides how long a copy takes.
    private const int CopyOffset = RamSize + 64;

    private readonly byte* _ram = (byte*)NativeMemory.AlignedAlloc(RamSize + PageSize, PageSize);
    private readonly ISession?[] _sessions = new ISession?[16];
    private readonly SmcRegisters _call = Bench.Registers(OpTeeSmc.CallWithArgument, Message, 0);
    private int _slot;
    private int _version;

    public BareInvoke()
    {
        NativeMemory.Clear(_ram, RamSize + PageSize);
        Header header = new()
        {
            Command = OpTeeMessage.CommandInvoke, Session = SessionId, ParameterCount = Parameters,
        };
        MemoryMarshal.Write(new Span<byte>(_ram + (8 * PageSize), Size), in header);
        for (int index = 0; index < Parameters; index++)
        {
            ParametersOf(new Span<byte>(_ram + (8 * PageSize), Size))[index].Attributes = OpTeeMessage.TypeValueInOut;
        }

        _sessions[SessionId] = new Session();
        _version = 2;
    }

    private interface ISession
    {
        uint Invoke(uint function, Span<Value> values);
    }

    // Compiled once and without a profile: a reference that is compiled differently each time is none.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(int operations)
    {
        for (int count = 0; count < operations; count++)
        {
            SmcRegisters registers = _call;
            Handle(ref registers);
            if (registers.X0 != OpTeeSmc.ReturnOk)
            {
                throw new InvalidOperationException($"The bare invoke was answered 0x{registers.X0:x}.");
            }
        }
    }

    protected override void Dispose(bool disposing)
    {
        NativeMemory.AlignedFree(_ram);
        base.Dispose(disposing);
    }

    private Span<byte> Copy => new(_ram + CopyOffset, Size);

    private Span<Value> Values => new(_ram + CopyOffset + Size, Parameters);

    private static Span<Parameter> ParametersOf(Span<byte> message) =>
        MemoryMarshal.Cast<byte, Parameter>(message[sizeof(Header)..]);

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private void Handle(ref SmcRegisters registers)
    {
        if ((uint)registers.X0 != OpTeeSmc.CallWithArgument)
        {
            registers.X0 = OpTeeSmc.ReturnUnknownFunction;
            return;
        }

        if (Interlocked.CompareExchange(ref _slot, 1, 0) != 0)
        {
            registers.X0 = OpTeeSmc.ReturnThreadLimit;
            return;
        }

        int version = Volatile.Read(ref _version);
        ulong offset = ((registers.X1 << 32) | (uint)registers.X2) - RamStart;
        registers.X0 = offset <= RamSize - Size && TryCall(_ram + offset, version)
            ? OpTeeSmc.ReturnOk : OpTeeSmc.ReturnBadAddress;
        _ = Interlocked.Exchange(ref _slot, 0);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private bool TryCall(byte* message, int version)
    {
        new ReadOnlySpan<byte>(message, Size).CopyTo(Copy);
        ref Header header = ref MemoryMarshal.AsRef<Header>(Copy);
        ISession?[] sessions = _sessions;
        if (header.Command != OpTeeMessage.CommandInvoke || header.ParameterCount != Parameters
            || header.Session >= (uint)sessions.Length || sessions[header.Session] is not { } session
            || !TryDecode(ParametersOf(Copy)))
        {
            return false;
        }

        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _version) != version)
        {
            return false;
        }

        uint code = session.Invoke(header.Function, Values);
        Encode(new Span<byte>(message, Size), code);
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private bool TryDecode(ReadOnlySpan<Parameter> parameters)
    {
        Span<Value> values = Values;
        for (int index = 0; index < values.Length; index++)
        {
            ref readonly Parameter source = ref parameters[index];
            if (source.Attributes != OpTeeMessage.TypeValueInOut)
            {
                return false;
            }

            values[index] = new Value(source.A, source.B);
        }

        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private void Encode(Span<byte> message, uint code)
    {
        Span<Parameter> parameters = ParametersOf(message);
        ReadOnlySpan<Value> values = Values;
        for (int index = 0; index < parameters.Length; index++)
        {
            parameters[index].A = values[index].A;
            parameters[index].B = values[index].B;
        }

        MemoryMarshal.AsRef<Header>(message).ReturnCode = code;
    }

    // struct optee_msg_arg and struct optee_msg_param: the measured code's own are not used, as they may change.
    private struct Header
    {
        public uint Command;
        public uint Function;
        public uint Session;
        public uint CancelId;
        public uint Padding;
        public uint ReturnCode;
        public uint ReturnOrigin;
        public uint ParameterCount;
    }

    private struct Parameter
    {
        public ulong Attributes;
        public ulong A;
        public ulong B;
        public ulong C;
    }

    private struct Value(ulong a, ulong b)
    {
        public ulong A { get; set; } = a;

        public ulong B { get; set; } = b;
    }

    private sealed class Session : ISession
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public uint Invoke(uint function, Span<Value> values) => function;
    }
}
