using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>One VM's way to the host's TEE: its open device, what it may share, and where it logs.
/// Thread-safe.</summary>
internal sealed record HostTee(ITeeDevice Device, PinBudget Budget, string VirtualMachine, ILogger Logger);
