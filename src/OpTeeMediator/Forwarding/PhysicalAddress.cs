
namespace OpTeeMediator.Forwarding;

/// <summary>A physical address, as the secure world sees memory (PA).</summary>
/// <remarks>A type of its own, never mixed up with a guest's address. Immutable, hence thread-safe.</remarks>
/// <param name="Value">The address in bytes.</param>
public readonly record struct PhysicalAddress(ulong Value)
{
    /// <inheritdoc/>
    public override string ToString() => $"PA 0x{Value:x}";
}
