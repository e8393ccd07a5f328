using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>One VM's way to the host's TEE.</summary>
/// <remarks>Thread-safe.</remarks>
/// <param name="Device">Its open device.</param>
/// <param name="Budget">What it may share.</param>
/// <param name="VirtualMachine">Its name in logs.</param>
/// <param name="Logger">Where to log.</param>
internal sealed record HostTee(ITeeDevice Device, PinBudget Budget, string VirtualMachine, ILogger Logger);
