namespace OpTeeMediator.Testing.Forwarding;

/// <summary>The memory of a computer, as its secure world and its hypervisor see it.</summary>
public abstract class PhysicalRam(ulong start, int length)
{
    public ulong Start { get; } = start;

    public int Length { get; } = length;

    public abstract Span<byte> Bytes { get; }

    /// <summary>Part of it; throws if it is not there.</summary>
    public Span<byte> At(ulong address, int count) => Bytes.Slice(checked((int)(address - Start)), count);
}
