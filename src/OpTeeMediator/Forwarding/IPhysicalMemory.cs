using OpTeeMediator.Memory;

namespace OpTeeMediator.Forwarding;

/// <summary>The physical addresses of one VM's memory, and shadow pages for its messages.</summary>
/// <remarks>Thread-safe, and throws for no address.</remarks>
public interface IPhysicalMemory
{
    /// <summary>Translates a guest address.</summary>
    /// <param name="address">An address in a pinned page; the answer holds until it is unpinned.</param>
    /// <param name="physical">The physical address of the byte.</param>
    /// <param name="length">How many bytes from there on are contiguous in both address spaces.</param>
    /// <returns><see langword="false"/> if there is no such guest memory.</returns>
    /// <remarks>Where guests see physical addresses, this is the identity: <c>physical = new(address.Value); length =
    /// ulong.MaxValue - address.Value;</c></remarks>
    bool TryTranslate(GuestAddress address, out PhysicalAddress physical, out ulong length);

    /// <summary>The number of shadow pages, at least <see cref="OpTeeForwarderOptions.ShadowPages"/>.</summary>
    /// <remarks>Shadow pages are ordinary memory (normal world, cached) that OP-TEE can reach and no guest can: OP-TEE
    /// reads messages and page lists there, which no guest can then change. They belong to one forwarder.</remarks>
    int ShadowPages { get; }

    /// <summary>A shadow page.</summary>
    /// <param name="index">Which one, 0 to <see cref="ShadowPages"/> − 1.</param>
    /// <param name="physical">Its physical address, a multiple of 4096, never 0; always the same.</param>
    /// <returns>Its 4096 bytes, aligned to 8, in the VMM's address space; valid until the forwarder ends.</returns>
    Span<byte> GetShadowPage(int index, out PhysicalAddress physical);
}
