using System.Runtime.InteropServices;

namespace OpTeeMediator.Memory;

/// <summary>Typed access to guest memory. The guest is little-endian, and so are all hosts of this library.</summary>
public static class GuestMemoryExtensions
{
    /// <summary>Copies one value out of guest memory.</summary>
    /// <typeparam name="T">A type without references.</typeparam>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="address">Where the value lies; no alignment is needed.</param>
    /// <param name="value">The private copy.</param>
    /// <returns><see langword="false"/> if a byte of it is not guest RAM.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="memory"/> is <see langword="null"/>.</exception>
    public static bool TryRead<T>(this IGuestMemory memory, GuestAddress address, out T value) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(memory);
        value = default;
        return memory.TryRead(address, MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Copies one value into guest memory.</summary>
    /// <typeparam name="T">A type without references.</typeparam>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="address">Where the value shall lie; no alignment is needed.</param>
    /// <param name="value">The value.</param>
    /// <returns><see langword="false"/>, with nothing written, if a byte of it is not guest RAM.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="memory"/> is <see langword="null"/>.</exception>
    public static bool TryWrite<T>(this IGuestMemory memory, GuestAddress address, in T value) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(memory);
        return memory.TryWrite(address, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
    }
}
