using OpTeeMediator.Vmm;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>An interrupt of the guest of which one call fails.</summary>
public sealed class FailingInterruptLine(FailurePlan plan) : IInterruptLine
{
    private int _pulses;

    /// <summary>Pulses that did not fail.</summary>
    public int Pulses => Volatile.Read(ref _pulses);

    public int Spi
    {
        get
        {
            plan.Enter(nameof(Spi));
            return 112;
        }
    }

    public void Pulse()
    {
        plan.Enter(nameof(Pulse));
        _ = Interlocked.Increment(ref _pulses);
    }
}
