namespace OpTeeMediator.Memory;

/// <summary>Guest memory that is mapped into the VMM's process: access without a copy through an interface.</summary>
/// <remarks>Thread-safe like <see cref="IGuestMemory"/>.</remarks>
public interface IMappedGuestMemory : IGuestMemory
{
    /// <summary>A window on guest memory that is contiguous in the host's address space.</summary>
    /// <param name="address">The first guest address.</param>
    /// <param name="length">The length in bytes.</param>
    /// <param name="window">The live memory, which the guest may change at any time: copy out what is to be checked. It
    /// stays mapped (though perhaps no longer as the guest's memory) until the guest memory is disposed of.</param>
    /// <returns><see langword="false"/> if the range is not guest RAM or not contiguous in the host.</returns>
    bool TryGetWindow(GuestAddress address, int length, out Span<byte> window);

    /// <summary>The host virtual address of guest memory that is contiguous in the host's address space.</summary>
    /// <param name="range">The guest range.</param>
    /// <param name="hostAddress">The host virtual address of its first byte; valid while the range is pinned.</param>
    /// <returns><see langword="false"/> if the range is not guest RAM or not contiguous in the host.</returns>
    bool TryGetHostAddress(GuestRange range, out nint hostAddress);
}
