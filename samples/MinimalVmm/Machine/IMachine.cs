using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>A machine with one x86-64 vCPU in 64-bit mode; virtual addresses are guest addresses.</summary>
internal interface IMachine : IDisposable
{
    /// <summary>The guest's memory.</summary>
    IGuestMemory Memory { get; }

    /// <summary>R8 to R15, which stand for X0 to X7.</summary>
    Span<ulong> X { get; }

    /// <summary>What the guest wrote to the port.</summary>
    byte Al { get; }

    /// <summary>Runs the vCPU until the guest writes AL to an I/O port.</summary>
    /// <returns>The port.</returns>
    /// <exception cref="InvalidOperationException">The guest stopped in another way.</exception>
    byte Run();
}
