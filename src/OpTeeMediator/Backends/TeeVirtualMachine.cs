using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Backends;

/// <summary>What a backend learns of a VM when it creates the VM's partition.</summary>
/// <param name="Name">A name for logs.</param>
/// <param name="Access">What the VM may reach.</param>
/// <param name="ConcurrentCalls">How many operations may run at the same time, 1 or more.</param>
/// <param name="LoggerFactory">Where the partition logs.</param>
/// <remarks>Immutable, hence thread-safe.</remarks>
public sealed record TeeVirtualMachine(string Name, TeeAccess Access, int ConcurrentCalls, ILoggerFactory LoggerFactory)
{
    /// <summary>The VM's durable identity: <see cref="Guests.OpTeeGuestOptions.Identity"/>. All zero: none.</summary>
    public Guid Identity { get; init; }

    /// <summary>The smallest piece of the file behind the VM's memory that can be mapped by itself, in bytes
    /// (<see cref="TeeSharedMemory.MappingGranule"/>); 0, the default, if the memory has no file.</summary>
    public int MappingGranule { get; init; }
}
