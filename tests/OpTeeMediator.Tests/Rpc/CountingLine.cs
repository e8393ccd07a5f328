using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>A guest's interrupt that counts how often it was raised.</summary>
internal sealed class CountingLine : IInterruptLine
{
    private int _pulses;

    public int Spi => 112;

    public int Pulses => Volatile.Read(ref _pulses);

    public void Pulse() => Interlocked.Increment(ref _pulses);
}
