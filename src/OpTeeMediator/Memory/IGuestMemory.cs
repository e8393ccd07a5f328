namespace OpTeeMediator.Memory;

/// <summary>The memory of one VM, as a consumer of it needs it: reading, writing, pinning.</summary>
/// <remarks>
/// <para>A VMM implements this over whatever memory it has; creating, resizing and mapping memory are its own business.
/// Optional capabilities are separate interfaces, found at run time: <see cref="IMappedGuestMemory"/> and
/// <see cref="IFileBackedGuestMemory"/>. Everything works without them.</para>
/// <para>The guest's vCPUs change the memory at any time. Implementations are thread-safe and never throw for an
/// address, whatever it is.</para>
/// </remarks>
public interface IGuestMemory
{
    /// <summary>Copies guest memory out, all or nothing.</summary>
    /// <param name="address">The first guest address.</param>
    /// <param name="destination">Receives the bytes; its content is undefined on failure.</param>
    /// <returns><see langword="false"/> if any byte is not guest RAM. The range may cross region borders.</returns>
    bool TryRead(GuestAddress address, Span<byte> destination);

    /// <summary>Copies into guest memory, all or nothing. The range may cross region borders.</summary>
    /// <param name="address">The first guest address.</param>
    /// <param name="source">The bytes to write.</param>
    /// <returns><see langword="false"/>, with nothing written, if any byte is not guest RAM.</returns>
    bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source);

    /// <summary>Keeps pages from being unmapped or discarded (balloon, hole punch) until <see cref="Unpin"/>.</summary>
    /// <param name="pages">The pages. Their number is bounded by the caller's own limits.</param>
    /// <returns><see langword="false"/>, with nothing pinned, if any page is not entirely guest RAM.</returns>
    /// <remarks>A VMM whose guest memory stays as it is for the life of the VM only checks the addresses: <c>return
    /// pages.IsWithin(regions);</c>. Others keep a <see cref="PinSet"/>.</remarks>
    bool TryPin(GuestPages pages);

    /// <summary>Ends a pin. Called once for each successful <see cref="TryPin"/>, perhaps after the VM's end.</summary>
    /// <param name="pages">The pages that were pinned.</param>
    void Unpin(GuestPages pages);
}
