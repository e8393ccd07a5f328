namespace OpTeeMediator.Vmm;

/// <summary>An interrupt of the guest that the VMM lends to the mediator.</summary>
/// <remarks>Implementations are thread-safe.</remarks>
public interface IInterruptLine
{
    /// <summary>The number of the shared peripheral interrupt (SPI) in a device tree: 0 is the GIC's 32.</summary>
    /// <remarks>The guest must see it as edge-triggered.</remarks>
    int Spi { get; }

    /// <summary>Raises the interrupt once. Called from any thread; must not block.</summary>
    void Pulse();
}
