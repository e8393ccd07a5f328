using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>Memory of an application as a parameter of another application's operation.</summary>
/// <remarks>The other one sees the memory itself, no copy, until its operation has ended.</remarks>
public static class ApplicationMemory
{
    /// <summary>Memory that the other application reads.</summary>
    /// <param name="memory">The memory.</param>
    public static TeeParameter Input(ReadOnlyMemory<byte> memory) =>
        TeeParameter.Reference(
            TeeParameterKind.MemoryInput, PrivateMemory.OfInput(memory), 0, (ulong)memory.Length);

    /// <summary>
    /// Memory that the other application writes; the parameter's <see cref="TeeParameter.Size"/> is then how much.
    /// </summary>
    /// <param name="memory">The memory.</param>
    public static TeeParameter Output(Memory<byte> memory) => Create(TeeParameterKind.MemoryOutput, memory);

    /// <summary>Memory that the other application reads and writes, as <see cref="Output"/>.</summary>
    /// <param name="memory">The memory.</param>
    public static TeeParameter InOut(Memory<byte> memory) => Create(TeeParameterKind.MemoryInOut, memory);

    private static TeeParameter Create(TeeParameterKind kind, Memory<byte> memory) =>
        TeeParameter.Reference(kind, new PrivateMemory(memory), 0, (ulong)memory.Length);
}
