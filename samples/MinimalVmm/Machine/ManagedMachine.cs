using System.Buffers.Binary;
using Iced.Intel;
using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>A machine for hosts without KVM: it interprets the few 64-bit instructions that the guest uses.</summary>
/// <param name="ram">Its RAM.</param>
/// <param name="entry">Where the guest begins.</param>
internal sealed class ManagedMachine(GuestRange ram, ulong entry) : IMachine
{
    private const int LongestInstruction = 15;

    private readonly ulong[] _registers = new ulong[16];
    private ulong _next = entry;
    private bool _isEqual;

    /// <inheritdoc/>
    public IGuestMemory Memory { get; } = new ArrayGuestMemory(ram);

    /// <inheritdoc/>
    public Span<ulong> X => _registers.AsSpan(8);

    /// <inheritdoc/>
    public byte Al => (byte)_registers[0];

    /// <inheritdoc/>
    public byte Run()
    {
        while (true)
        {
            byte[] code = new byte[LongestInstruction];
            Check(Memory.TryRead(_next, code), _next);
            Instruction instruction = Decoder.Create(64, new ByteArrayCodeReader(code), _next).Decode();
            _next = instruction.NextIP;
            if (instruction.Mnemonic == Mnemonic.Out)
            {
                return instruction.Immediate8;
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
            case Mnemonic.Inc:
                Write(instruction, Read(instruction, 0) + 1);
                break;
            case Mnemonic.Cmp:
                _isEqual = Read(instruction, 0) == Read(instruction, 1);
                break;
            case Mnemonic.Je when _isEqual:
            case Mnemonic.Jne when !_isEqual:
            case Mnemonic.Jmp:
                _next = instruction.NearBranchTarget;
                break;
            case Mnemonic.Je or Mnemonic.Jne:
                break;
            default:
                throw new InvalidOperationException($"Unknown instruction '{instruction}' at 0x{instruction.IP:x}.");
        }
    }

    private ulong Read(in Instruction instruction, int operand)
    {
        switch (instruction.GetOpKind(operand))
        {
            case OpKind.Register:
                return RegisterOf(instruction.GetOpRegister(operand));
            case OpKind.Memory:
                Span<byte> bytes = stackalloc byte[sizeof(ulong)];
                bytes.Clear();
                ulong address = AddressOf(instruction);
                Check(Memory.TryRead(address, bytes[..instruction.MemorySize.GetSize()]), address);
                return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            default:
                return instruction.GetImmediate(operand);
        }
    }

    private void Write(in Instruction instruction, ulong value)
    {
        if (instruction.Op0Kind == OpKind.Register)
        {
            RegisterOf(instruction.Op0Register) = value;
        }
        else
        {
            Check(Memory.TryWrite(AddressOf(instruction), value), AddressOf(instruction));
        }
    }

    private ref ulong RegisterOf(Register register) => ref _registers[register - Register.RAX];

    private ulong AddressOf(in Instruction instruction) =>
        RegisterOf(instruction.MemoryBase) + instruction.MemoryDisplacement64;

    private static void Check(bool isRam, ulong address)
    {
        if (!isRam)
        {
            throw new InvalidOperationException($"The guest used the address 0x{address:x}, which is not RAM.");
        }
    }
}
