using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.State;

/// <summary>An interrupt line that counts.</summary>
internal sealed class CountingLine : IInterruptLine
{
    private int _pulses;

    public int Pulses => Volatile.Read(ref _pulses);

    public int Spi => 77;

    public void Pulse() => Interlocked.Increment(ref _pulses);
}
