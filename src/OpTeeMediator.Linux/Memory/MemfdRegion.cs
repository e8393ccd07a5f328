using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>A region of guest RAM and where it lies in this process: what KVM_SET_USER_MEMORY_REGION wants to know.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
/// <param name="Range">The guest addresses.</param>
/// <param name="HostAddress">The host virtual address of the first byte; valid until the guest memory is disposed of.</param>
public readonly record struct MemfdRegion(GuestRange Range, nint HostAddress);
