using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Diagnostics;

/// <summary>Every message that this library logs, in the order of the event identifiers.</summary>
/// <remarks>
/// <code>
/// 2000–2099 guest memory
/// 2100–2199 KVM
/// 2200–2299 the host's TEE (LinuxTeeBackend)
/// 2300–2399 companion VMs (OpTeeCompanion)
/// </code>
/// Identifiers are stable: none is given twice, none changes its meaning.
/// </remarks>
internal static partial class Log
{
    [LoggerMessage(EventId = 2000, Level = LogLevel.Warning, Message = "Guest memory {Name} was disposed of with {Pins} buffers still shared with a TEE; {Regions} regions stay mapped until the last of them is let go.")]
    internal static partial void UnmapDeferred(this ILogger logger, string name, int regions, int pins);

    [LoggerMessage(EventId = 2001, Level = LogLevel.Information, Message = "Region {Range} was removed from guest memory {Name} while pages of it are shared with a TEE; its memory is freed with the last of them.")]
    internal static partial void RegionRemovalDeferred(this ILogger logger, GuestRange range, string name);

    [LoggerMessage(EventId = 2002, Level = LogLevel.Error, Message = "The memory of removed region {Range} of {Name} could not be freed ({Error}); it stays mapped until the guest memory is disposed of.")]
    internal static partial void RegionNotFreed(this ILogger logger, GuestRange range, string name, ErrorName error);

    [LoggerMessage(EventId = 2200, Level = LogLevel.Information, Message = "VM {VirtualMachine} is a client of the host's OP-TEE, which announces {Devices} devices to it.")]
    internal static partial void PartitionCreated(this ILogger logger, string virtualMachine, int devices);

    [LoggerMessage(EventId = 2201, Level = LogLevel.Information, Message = "The host's OP-TEE has no device enumeration for VM {VirtualMachine} (driver: {Error}, return code 0x{Code:x8}).")]
    internal static partial void NoDeviceEnumeration(this ILogger logger, string virtualMachine, ErrorName error, uint code);

    [LoggerMessage(EventId = 2202, Level = LogLevel.Warning, Message = "The host's OP-TEE does not list its devices with dependency {Dependency}: {Code}. VM {VirtualMachine} does not see them.")]
    internal static partial void DeviceEnumerationFailed(this ILogger logger, string virtualMachine, TeeDeviceDependency dependency, TeeReturnCode code);

    [LoggerMessage(EventId = 2203, Level = LogLevel.Debug, Message = "VM {VirtualMachine} was refused a session of its kernel with {Application}: the host's TEE does not take user space's word for a kernel.")]
    internal static partial void KernelLoginRefused(this ILogger logger, string virtualMachine, Guid application);

    [LoggerMessage(EventId = 2204, Level = LogLevel.Debug, Message = "A buffer of {Size} bytes of VM {VirtualMachine} is over budget: {Bytes} of {MaximumBytes} bytes and {Registrations} of {MaximumRegistrations} registrations are in use.")]
    internal static partial void PinBudgetExceeded(this ILogger logger, string virtualMachine, ulong size, long bytes, long maximumBytes, int registrations, int maximumRegistrations);

    [LoggerMessage(EventId = 2205, Level = LogLevel.Debug, Message = "The host does not register a buffer of {Size} bytes of VM {VirtualMachine} with its TEE: {Error}.")]
    internal static partial void BufferRefused(this ILogger logger, string virtualMachine, ulong size, ErrorName error);

    [LoggerMessage(EventId = 2206, Level = LogLevel.Debug, Message = "A buffer of {Size} bytes of VM {VirtualMachine} is copied for each call: its guest memory has no file behind it, or is scattered in pieces smaller than the file's pages.")]
    internal static partial void BufferIsCopied(this ILogger logger, string virtualMachine, ulong size);

    [LoggerMessage(EventId = 2207, Level = LogLevel.Debug, Message = "The host's TEE driver refuses {Operation} for VM {VirtualMachine}: {Error}.")]
    internal static partial void CallRefused(this ILogger logger, string virtualMachine, string operation, ErrorName error);

    [LoggerMessage(EventId = 2208, Level = LogLevel.Error, Message = "{Operation} for VM {VirtualMachine} failed: {Error}. The guest sees TEE_ERROR_COMMUNICATION. Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void CallFailed(this ILogger logger, string virtualMachine, string operation, ErrorName error, long suppressed);

    [LoggerMessage(EventId = 2209, Level = LogLevel.Warning, Message = "VM {VirtualMachine} is gone with {Registrations} buffers still registered with the host's TEE; their pages stay pinned until the garbage collector finds them.")]
    internal static partial void RegistrationsLeft(this ILogger logger, string virtualMachine, int registrations);

    [LoggerMessage(EventId = 2210, Level = LogLevel.Error, Message = "Cancelling a command of VM {VirtualMachine} failed: the command ends by itself. Logged once.")]
    internal static partial void CancellationFailed(this ILogger logger, string virtualMachine, Exception exception);

    [LoggerMessage(EventId = 2300, Level = LogLevel.Information, Message = "The OP-TEE of {Name} has started in {Milliseconds} ms, with {Cores} cores.")]
    internal static partial void CompanionStarted(this ILogger logger, string name, long milliseconds, int cores);

    [LoggerMessage(EventId = 2301, Level = LogLevel.Error, Message = "The OP-TEE of {Name} is dead: {Death}. All calls of its guest fail; another one takes its place. Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void CompanionDied(this ILogger logger, string name, TeeFailure death, long suppressed);

    [LoggerMessage(EventId = 2302, Level = LogLevel.Warning, Message = "Another OP-TEE has taken the place of the dead one of {Name}, in {Milliseconds} ms. It serves when the guest's driver begins anew: unbind and bind it, and start the supplicant again.")]
    internal static partial void CompanionReplaced(this ILogger logger, string name, long milliseconds);

    [LoggerMessage(EventId = 2303, Level = LogLevel.Error, Message = "No other OP-TEE could take the place of the dead one of {Name}; its guest is without until the VM is reset.")]
    internal static partial void ReplacementFailed(this ILogger logger, string name, Exception exception);

    [LoggerMessage(EventId = 2304, Level = LogLevel.Debug, Message = "Core {Core} of {Name}'s OP-TEE reaches for {Address}, where nothing is (write: {IsWrite}).")]
    internal static partial void CompanionReachesForNothing(this ILogger logger, string name, int core, GuestAddress address, bool isWrite);

    [LoggerMessage(EventId = 2305, Message = "{Name}: {Line}")]
    internal static partial void CompanionSays(this ILogger logger, LogLevel level, string name, string line);

    [LoggerMessage(EventId = 2306, Level = LogLevel.Error, Message = "Call 0x{FunctionId:x8} of {Name} failed on the host; the guest gets NOT_SUPPORTED. Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void CompanionCallFailed(this ILogger logger, string name, uint functionId, long suppressed, Exception exception);

    // 2307 was a notification that the VMM's interrupt line has failed to deliver; the core logs it (1102) and repeats the pulse.
    [LoggerMessage(EventId = 2308, Level = LogLevel.Error, Message = "A thread that watches over the OP-TEE of {Name} has met an error; it goes on. Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void SupervisionFailed(this ILogger logger, string name, long suppressed, Exception exception);

    [LoggerMessage(EventId = 2309, Level = LogLevel.Debug, Message = "{Instructions} instructions of {Name}'s OP-TEE use the physical timer instead of the secure one.")]
    internal static partial void SecureTimerReplaced(this ILogger logger, string name, int instructions);

    [LoggerMessage(EventId = 2310, Level = LogLevel.Error, Message = "What the ended OP-TEE of {Name} had could not be freed, or one of its cores not be interrupted.")]
    internal static partial void CompanionNotEnded(this ILogger logger, string name, Exception exception);
}
