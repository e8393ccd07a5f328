using System.Buffers.Binary;
using Iced.Intel;
using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>A machine without virtualization: interprets the x86-64 instructions that the guest consists of, and no others.</summary>
internal sealed class ManagedMachine : IMachine
{
    private const int LongestInstruction = 15;

    private readonly ArrayGuestMemory _memory;
    private readonly Dictionary<ulong, Instruction> _decoded = [];
    private readonly ulong[] _registers = new ulong[16];
    private ulong _next;

    // The flags, kept as what they are made of: the operands of the last CMP. The guest branches only right behind one.
    private ulong _left;
    private ulong _right;

    /// <summary>Creates a machine.</summary>
    /// <param name="ram">Its only memory.</param>
    public ManagedMachine(GuestRange ram) => _memory = new ArrayGuestMemory(ram);

    /// <inheritdoc/>
    public string Description => "on a managed vCPU, which interprets its machine code";

    /// <inheritdoc/>
    public IGuestMemory Memory => _memory;

    /// <inheritdoc/>
    public ref ulong this[Register register] => ref _registers[register.GetFullRegister() - Register.RAX];

    /// <inheritdoc/>
    public void Start(ulong address)
    {
        _next = address;
        this[Register.RSP] = address;
    }

    /// <inheritdoc/>
    public Doorbell Run()
    {
        while (true)
        {
            Instruction instruction = Fetch();
            _next = instruction.NextIP;
            if (instruction.Mnemonic == Mnemonic.Out)
            {
                return (Doorbell)instruction.Immediate8;
            }

            Execute(instruction);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private void Execute(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov or Mnemonic.Movzx:
                Write(instruction, Read(instruction, 1));
                break;
            case Mnemonic.Add:
                Write(instruction, Read(instruction, 0) + Read(instruction, 1));
                break;
            case Mnemonic.And:
                Write(instruction, Read(instruction, 0) & Read(instruction, 1));
                break;
            case Mnemonic.Shr:
                Write(instruction, Read(instruction, 0) >> (int)Read(instruction, 1));
                break;
            case Mnemonic.Inc:
                Write(instruction, Read(instruction, 0) + 1);
                break;
            case Mnemonic.Dec:
                Write(instruction, Read(instruction, 0) - 1);
                break;
            case Mnemonic.Cmp:
                (_left, _right) = (Read(instruction, 0), Read(instruction, 1));
                break;
            case Mnemonic.Je when _left == _right:
            case Mnemonic.Jne when _left != _right:
            case Mnemonic.Jb when _left < _right:
            case Mnemonic.Jmp:
                _next = instruction.NearBranchTarget;
                break;
            case Mnemonic.Je or Mnemonic.Jne or Mnemonic.Jb:
                break;
            case Mnemonic.Call:
                this[Register.RSP] -= sizeof(ulong);
                BinaryPrimitives.WriteUInt64LittleEndian(Window(this[Register.RSP], sizeof(ulong)), _next);
                _next = instruction.NearBranchTarget;
                break;
            case Mnemonic.Ret:
                _next = BinaryPrimitives.ReadUInt64LittleEndian(Window(this[Register.RSP], sizeof(ulong)));
                this[Register.RSP] += sizeof(ulong);
                break;
            default:
                throw new GuestStoppedException($"The managed vCPU does not know the instruction '{instruction}' at 0x{instruction.IP:x}.");
        }
    }

    private Instruction Fetch()
    {
        if (!_decoded.TryGetValue(_next, out Instruction instruction))
        {
            byte[] code = Window(_next, LongestInstruction).ToArray();
            instruction = Decoder.Create(64, new ByteArrayCodeReader(code), _next).Decode();
            _decoded.Add(_next, instruction);
        }

        return instruction;
    }

    private ulong Read(in Instruction instruction, int operand) => instruction.GetOpKind(operand) switch
    {
        OpKind.Register => Truncate(this[instruction.GetOpRegister(operand)], instruction.GetOpRegister(operand).GetSize()),
        OpKind.Memory => ReadMemory(Window(AddressOf(instruction), instruction.MemorySize.GetSize())),
        _ => Truncate(instruction.GetImmediate(operand), SizeOfFirst(instruction)),
    };

    private void Write(in Instruction instruction, ulong value)
    {
        int size = SizeOfFirst(instruction);
        if (instruction.Op0Kind == OpKind.Memory)
        {
            WriteMemory(Window(AddressOf(instruction), size), value);
            return;
        }

        // Writing 32 bits clears the upper half of a register; writing 8 would keep the rest, but the guest never does.
        this[instruction.Op0Register] = Truncate(value, size);
    }

    private ulong AddressOf(in Instruction instruction) => this[instruction.MemoryBase] + instruction.MemoryDisplacement64;

    private Span<byte> Window(ulong address, int length) => _memory.TryGetWindow(address, length, out Span<byte> window)
        ? window
        : throw new GuestStoppedException($"The guest used the address 0x{address:x}, which is not RAM.");

    private static int SizeOfFirst(in Instruction instruction) =>
        instruction.Op0Kind == OpKind.Memory ? instruction.MemorySize.GetSize() : instruction.Op0Register.GetSize();

    private static ulong ReadMemory(ReadOnlySpan<byte> source)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes.Clear();
        source.CopyTo(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    private static void WriteMemory(Span<byte> destination, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        bytes[..destination.Length].CopyTo(destination);
    }

    private static ulong Truncate(ulong value, int size) => size == sizeof(ulong) ? value : value & ((1UL << (size * 8)) - 1);
}
