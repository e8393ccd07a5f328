using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Linux.Diagnostics;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>What <see cref="LinuxTeeBackend"/> logs, with event identifiers from 2200 to 2299.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(2200, LogLevel.Information,
        "VM {VirtualMachine} is a client of the host's OP-TEE, which announces {Devices} devices to it.")]
    internal static partial void PartitionCreated(this ILogger logger, string virtualMachine, int devices);

    [LoggerMessage(2201, LogLevel.Information,
        "The host's OP-TEE has no device enumeration for VM {VirtualMachine} (driver: {Error}, return "
            + "code 0x{Code:x8}).")]
    internal static partial void NoDeviceEnumeration(
        this ILogger logger, string virtualMachine, ErrorName error, uint code);

    [LoggerMessage(2202, LogLevel.Warning,
        "The host's OP-TEE does not list its devices with dependency {Dependency}: {Code}. VM "
            + "{VirtualMachine} does not see them.")]
    internal static partial void DeviceEnumerationFailed(
        this ILogger logger, string virtualMachine, TeeDeviceDependency dependency, TeeReturnCode code);

    [LoggerMessage(2203, LogLevel.Debug,
        "VM {VirtualMachine} was refused a session of its kernel with {Application}: the host's TEE "
            + "does not take user space's word for a kernel.")]
    internal static partial void KernelLoginRefused(this ILogger logger, string virtualMachine, Guid application);

    [LoggerMessage(2204, LogLevel.Debug,
        "A buffer of {Size} bytes of VM {VirtualMachine} is over budget: {Bytes} of {MaximumBytes} "
            + "bytes and {Registrations} of {MaximumRegistrations} registrations are in use.")]
    internal static partial void PinBudgetExceeded(
        this ILogger logger, string virtualMachine, ulong size, long bytes, long maximumBytes, int registrations,
        int maximumRegistrations);

    [LoggerMessage(2205, LogLevel.Debug,
        "The host does not register a buffer of {Size} bytes of VM {VirtualMachine} with its TEE: {Error}.")]
    internal static partial void BufferRefused(this ILogger logger, string virtualMachine, ulong size, ErrorName error);

    [LoggerMessage(2206, LogLevel.Debug,
        "A buffer of {Size} bytes of VM {VirtualMachine} is copied for each call: its guest memory has "
            + "no file behind it, or is scattered in pieces smaller than the file's pages.")]
    internal static partial void BufferIsCopied(this ILogger logger, string virtualMachine, ulong size);

    [LoggerMessage(2207, LogLevel.Debug,
        "The host's TEE driver refuses {Operation} for VM {VirtualMachine}: {Error}.")]
    internal static partial void CallRefused(
        this ILogger logger, string virtualMachine, string operation, ErrorName error);

    [LoggerMessage(2208, LogLevel.Error,
        "{Operation} for VM {VirtualMachine} failed: {Error}. The guest sees TEE_ERROR_COMMUNICATION. "
            + "Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void CallFailed(
        this ILogger logger, string virtualMachine, string operation, ErrorName error, long suppressed);

    [LoggerMessage(2209, LogLevel.Warning,
        "VM {VirtualMachine} is gone with {Registrations} buffers still registered with the host's TEE; "
            + "their pages stay pinned until the garbage collector finds them.")]
    internal static partial void RegistrationsLeft(this ILogger logger, string virtualMachine, int registrations);

    [LoggerMessage(2210, LogLevel.Error,
        "Cancelling a command of VM {VirtualMachine} failed: the command ends by itself. Logged once.")]
    internal static partial void CancellationFailed(this ILogger logger, string virtualMachine, Exception exception);
}
