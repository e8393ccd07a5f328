using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>A message between the stub and this program: <c>struct message</c> of
/// tests/machines/steps/el2-stub.files/protocol.h.</summary>
[InlineArray(Numbers)]
internal struct StubMessage
{
    /// <summary>From a CPU: the answer to <see cref="MakeCall"/>.</summary>
    public const ulong CallDone = 2;

    /// <summary>To a CPU: back to the guest.</summary>
    public const ulong Return = 0;

    /// <summary>To a CPU: make an SMC.</summary>
    public const ulong MakeCall = 1;

    /// <summary>To a CPU: stop for good.</summary>
    public const ulong Stop = 3;

    /// <summary>From this program to itself: its end.</summary>
    public const ulong End = ulong.MaxValue;

    private const int Numbers = 10;
    private const int Registers = 8;
    private const int FirstRegister = 2;

    private ulong _element0;

    public StubMessage(ulong operation) => this[0] = operation;

    public StubMessage(ulong operation, in SmcRegisters registers)
        : this(operation) => ((ReadOnlySpan<ulong>)registers)[..Registers].CopyTo(this[FirstRegister..]);

    public readonly ulong Operation => this[0];

    public static Span<byte> BytesOf(ref StubMessage message) => MemoryMarshal.AsBytes((Span<ulong>)message);

    public readonly void CopyTo(ref SmcRegisters registers) =>
        ((ReadOnlySpan<ulong>)this)[FirstRegister..].CopyTo(registers[..Registers]);
}
