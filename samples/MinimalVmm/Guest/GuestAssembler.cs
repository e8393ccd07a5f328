using Iced.Intel;
using MinimalVmm.Machine;
using static Iced.Intel.AssemblerRegisters;

namespace MinimalVmm.Guest;

/// <summary>The vocabulary of <see cref="GuestProgram"/>: each word becomes a few x86-64 instructions.</summary>
/// <remarks>
/// R8–R15 are X0–X7. RBP counts the checks that passed. RAX (found), RCX (expected), RBX, RDI and RSI are scratch registers.
/// Instructions outside <see cref="ManagedMachine"/>'s repertoire must be added there too.
/// </remarks>
internal abstract class GuestAssembler
{
    private static readonly AssemblerRegister64[] X = [r8, r9, r10, r11, r12, r13, r14, r15];

    private readonly Assembler _code = new(64);
    private readonly List<Check> _checks = [];
    private Label _smc;
    private Label _check;
    private Label _failed;
    private string _stepName = string.Empty;
    private int _step;

    protected GuestAssembler()
    {
        _smc = _code.CreateLabel();
        _check = _code.CreateLabel();
        _failed = _code.CreateLabel();
    }

    /// <summary>The checks, in the order in which the guest comes to them.</summary>
    public IReadOnlyList<Check> Checks => _checks;

    /// <summary>Names what follows.</summary>
    protected void Step(string name)
    {
        _stepName = name;
        _step++;
    }

    /// <summary>An SMC, with X4 to X7 zero. A request to take interrupts is granted on the way; X4 to X7 must be preserved.</summary>
    protected void Call(OpTeeFunction function, ulong x1 = 0, ulong x2 = 0, ulong x3 = 0)
    {
        ulong[] values = [(ulong)function, x1, x2, x3, 0, 0, 0, 0];
        for (int index = 0; index < values.Length; index++)
        {
            _code.mov(X[index], values[index]);
        }

        _code.call(_smc);
        for (int index = 4; index < values.Length; index++)
        {
            ExpectRegister(index, 0);
        }
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
    protected void ExpectRegister(int index, ulong expected)
    {
        _code.mov(rax, X[index]);
        _code.mov(rcx, expected);
        ExpectFound($"X{index}");
    }

    /// <summary>A register must be a minimum at least.</summary>
    protected void ExpectRegisterAtLeast(int index, ulong minimum)
    {
        Label tooLittle = _code.CreateLabel();
        _code.mov(rax, X[index]);
        _code.mov(rcx, minimum);
        _code.cmp(rax, rcx);
        _code.jb(tooLittle);
        _code.mov(rcx, rax);
        _code.Label(ref tooLittle);
        ExpectFound($"X{index} (at least)");
    }

    /// <summary>All bits of a mask must be set in a register.</summary>
    protected void ExpectRegisterBits(int index, ulong mask)
    {
        _code.mov(rcx, mask);
        _code.mov(rax, X[index]);
        _code.and(rax, rcx);
        ExpectFound($"the named bits of X{index}");
    }

    /// <summary>Repeats an SMC without arguments until X0 has a value, but not for ever.</summary>
    protected void CallUntil(OpTeeFunction function, OpTeeReturn expected, int attempts)
    {
        Label again = _code.CreateLabel();
        Label done = _code.CreateLabel();
        _code.mov(rbx, (ulong)attempts);
        _code.Label(ref again);
        _code.mov(X[0], (ulong)function);
        for (int index = 1; index < X.Length; index++)
        {
            _code.mov(X[index], 0UL);
        }

        _code.call(_smc);
        _code.cmp(r8d, (uint)expected);
        _code.je(done);
        _code.dec(rbx);
        _code.cmp(rbx, 0);
        _code.jne(again);
        _code.Label(ref done);
        ExpectRegister(0, (uint)expected);
    }

    /// <summary>Writes 64 bits to memory.</summary>
    protected void Store64(ulong address, ulong value)
    {
        _code.mov(rdi, address);
        _code.mov(rax, value);
        _code.mov(__qword_ptr[rdi], rax);
    }

    /// <summary>Copies 32 bits of memory.</summary>
    protected void Copy32(ulong from, ulong to)
    {
        _code.mov(rdi, from);
        _code.mov(eax, __dword_ptr[rdi]);
        _code.mov(rdi, to);
        _code.mov(__dword_ptr[rdi], eax);
    }

    /// <summary>32 bits of memory must have a value.</summary>
    protected void Expect32(ulong address, uint expected, string subject)
    {
        _code.mov(rdi, address);
        _code.mov(eax, __dword_ptr[rdi]);
        _code.mov(rcx, (ulong)expected);
        ExpectFound(subject);
    }

    /// <summary>64 bits of memory must have a value.</summary>
    protected void Expect64(ulong address, ulong expected, string subject)
    {
        _code.mov(rdi, address);
        _code.mov(rax, __qword_ptr[rdi]);
        _code.mov(rcx, expected);
        ExpectFound(subject);
    }

    /// <summary>Fills a piece of a shared buffer, byte by byte.</summary>
    protected void FillMemory(SharedBuffer buffer, ulong offset, ulong length, Pattern pattern) => EachByte(buffer, offset, length, pattern, () =>
    {
        _code.mov(ecx, ebx);
        _code.shr(ecx, 24);
        _code.mov(__byte_ptr[rdi], cl);
    });

    /// <summary>Every byte of a piece of a shared buffer must be that of a pattern.</summary>
    protected void ExpectMemory(SharedBuffer buffer, ulong offset, ulong length, Pattern pattern)
    {
        EachByte(buffer, offset, length, pattern, () =>
        {
            _code.mov(ecx, ebx);
            _code.shr(ecx, 24);
            _code.movzx(eax, __byte_ptr[rdi]);
            _code.cmp(rax, rcx);
            _code.jne(_failed);
        });
        _code.inc(rbp);
        _checks.Add(new Check(_step, _stepName, $"bytes {offset:x} to {offset + length - 1:x} of the {buffer.Name}", IsMemory: true));
    }

    /// <summary>No 64-bit word may equal the word at the same place of another piece of memory.</summary>
    protected void ExpectDifferentWords(ulong address, ulong other, ulong length, string subject)
    {
        Label next = _code.CreateLabel();
        Label different = _code.CreateLabel();
        _code.mov(rax, 0UL);
        _code.mov(rdi, address);
        _code.mov(rsi, other);
        _code.mov(rbx, length / sizeof(ulong));
        _code.Label(ref next);
        _code.mov(rcx, __qword_ptr[rsi]);
        _code.cmp(rcx, __qword_ptr[rdi]);
        _code.jne(different);
        _code.inc(rax);
        _code.Label(ref different);
        _code.add(rdi, sizeof(ulong));
        _code.add(rsi, sizeof(ulong));
        _code.dec(rbx);
        _code.cmp(rbx, 0);
        _code.jne(next);
        _code.mov(rcx, 0UL);
        ExpectFound(subject);
    }

    /// <summary>Reports success, adds the subroutines and assembles.</summary>
    /// <param name="address">Where the code will lie.</param>
    /// <returns>The machine code.</returns>
    protected byte[] Assemble(ulong address)
    {
        Ring(Doorbell.Finished);
        _code.hlt();

        // smc: the stand-in for smc #0; interrupts that the secure world wants delivered need only a resume.
        Label done = _code.CreateLabel();
        _code.Label(ref _smc);
        Ring(Doorbell.Smc);
        _code.cmp(r8d, (uint)OpTeeReturn.RPC_FOREIGN_INTR);
        _code.jne(done);
        _code.mov(r8, (ulong)OpTeeFunction.RETURN_FROM_RPC);
        _code.jmp(_smc);
        _code.Label(ref done);
        _code.ret();

        // check: RAX must equal RCX.
        _code.Label(ref _check);
        _code.cmp(rax, rcx);
        _code.jne(_failed);
        _code.inc(rbp);
        _code.ret();

        _code.Label(ref _failed);
        Ring(Doorbell.Failed);
        _code.hlt();

        using MemoryStream stream = new();
        _ = _code.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }

    private void Ring(Doorbell doorbell) => _code.@out((byte)doorbell, al);

    private void ExpectFound(string subject)
    {
        _code.call(_check);
        _checks.Add(new Check(_step, _stepName, subject, IsMemory: false));
    }

    private void EachByte(SharedBuffer buffer, ulong offset, ulong length, Pattern pattern, Action body)
    {
        foreach ((ulong runOffset, ulong address, ulong runLength) in buffer.Runs(offset, length))
        {
            Label next = _code.CreateLabel();
            _code.mov(rdi, address);
            _code.mov(rsi, address + runLength);
            _code.mov(ebx, pattern.From(runOffset - offset).First);
            _code.Label(ref next);
            body();
            _code.add(ebx, unchecked((int)pattern.Step));
            _code.inc(rdi);
            _code.cmp(rdi, rsi);
            _code.jne(next);
        }
    }
}
