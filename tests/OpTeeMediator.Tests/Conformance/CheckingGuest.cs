using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Conformance;

/// <summary>A guest's CPU and memory: makes SMCs, and checks registers and memory.</summary>
internal abstract class CheckingGuest(ISmcHandler smc, IGuestMemory memory)
{
    private const int RegisterCount = 8;

    private readonly ulong[] _registers = new ulong[RegisterCount];
    private string _stepName = "";
    private int _step;

    /// <summary>How many checks passed.</summary>
    public int Passed { get; private set; }

    /// <summary>Names the checks that follow.</summary>
    protected void Step(string name)
    {
        _stepName = name;
        _step++;
    }

    /// <summary>Makes an SMC with X4 to X7 zero, and checks that X4 to X7 are preserved.</summary>
    protected void Call(OpTeeFunction function, ulong x1 = 0, ulong x2 = 0, ulong x3 = 0)
    {
        MakeCall(function, x1, x2, x3);
        for (int index = 4; index < RegisterCount; index++)
        {
            ExpectRegister(index, 0);
        }
    }

    /// <summary>Repeats an SMC without arguments until X0 is as expected.</summary>
    protected void CallUntil(OpTeeFunction function, OpTeeReturn expected, int attempts)
    {
        do
        {
            MakeCall(function, 0, 0, 0);
            attempts--;
        }
        while (attempts > 0 && _registers[0] != (ulong)expected);

        ExpectRegister(0, (uint)expected);
    }

    /// <summary>X0, X1, … must have these values.</summary>
    protected void ExpectRegisters(params ReadOnlySpan<uint> values)
    {
        for (int index = 0; index < values.Length; index++)
        {
            ExpectRegister(index, values[index]);
        }
    }

    /// <summary>A register must have a value.</summary>
    protected void ExpectRegister(int index, ulong expected) => Expect($"X{index}", expected, _registers[index]);

    /// <summary>A register must be a minimum at least.</summary>
    protected void ExpectRegisterAtLeast(int index, ulong minimum) =>
        Expect($"X{index} (at least)", Math.Max(minimum, _registers[index]), _registers[index]);

    /// <summary>All bits of a mask must be set in a register.</summary>
    protected void ExpectRegisterBits(int index, ulong mask) =>
        Expect($"the named bits of X{index}", mask, _registers[index] & mask);

    protected void Store64(ulong address, ulong value) => Store(address, value);

    protected void Copy32(ulong from, ulong to) => Store(to, Load<uint>(from));

    /// <summary>32 bits of memory must have a value.</summary>
    protected void Expect32(ulong address, uint expected, string subject) =>
        Expect(subject, expected, Load<uint>(address));

    /// <summary>64 bits of memory must have a value.</summary>
    protected void Expect64(ulong address, ulong expected, string subject) =>
        Expect(subject, expected, Load<ulong>(address));

    /// <summary>Fills a piece of a shared buffer with a pattern.</summary>
    protected void FillMemory(SharedBuffer buffer, ulong offset, ulong length, Pattern pattern)
    {
        for (ulong index = 0; index < length; index++)
        {
            Store(buffer.AddressOf(offset + index), pattern[index]);
        }
    }

    /// <summary>Every byte of a piece of a shared buffer must be that of a pattern.</summary>
    protected void ExpectMemory(SharedBuffer buffer, ulong offset, ulong length, Pattern pattern)
    {
        for (ulong index = 0; index < length; index++)
        {
            ulong address = buffer.AddressOf(offset + index);
            byte found = Load<byte>(address);
            if (found != pattern[index])
            {
                string subject = $"bytes {offset:x} to {offset + length - 1:x} of the {buffer.Name}";
                throw Failure(subject, pattern[index], found, $" at {address:x}");
            }
        }

        Passed++;
    }

    /// <summary>No 64-bit word may equal the word at the same place of another piece of memory.</summary>
    protected void ExpectDifferentWords(ulong address, ulong other, ulong length, string subject)
    {
        ulong equal = 0;
        for (ulong offset = 0; offset < length; offset += sizeof(ulong))
        {
            equal += Load<ulong>(address + offset) == Load<ulong>(other + offset) ? 1ul : 0;
        }

        Expect(subject, 0, equal);
    }

    // A call that stopped for an interrupt of the normal world needs only a resume.
    private void MakeCall(OpTeeFunction function, ulong x1, ulong x2, ulong x3)
    {
        SmcRegisters registers = default;
        ulong[] arguments = [(ulong)function, x1, x2, x3];
        arguments.CopyTo(registers[..arguments.Length]);
        _ = smc.Handle(ref registers);
        while (registers.X0 == (ulong)OpTeeReturn.RPC_FOREIGN_INTR)
        {
            registers.X0 = (ulong)OpTeeFunction.RETURN_FROM_RPC;
            _ = smc.Handle(ref registers);
        }

        registers[..RegisterCount].CopyTo(_registers);
    }

    private T Load<T>(ulong address)
        where T : unmanaged =>
        memory.TryRead(new(address), out T value) ? value : throw new CheckFailedException($"No RAM at {address:x}");

    private void Store<T>(ulong address, T value)
        where T : unmanaged
    {
        if (!memory.TryWrite(new(address), value))
        {
            throw new CheckFailedException($"No RAM at {address:x}");
        }
    }

    private void Expect(string subject, ulong expected, ulong found)
    {
        if (expected != found)
        {
            throw Failure(subject, expected, found, "");
        }

        Passed++;
    }

    private CheckFailedException Failure(string subject, ulong expected, ulong found, string place) =>
        new($"step {_step}: {_stepName}: {subject}: expected {expected:x}, found {found:x}{place}");
}
