using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>A VM's way to the host's TEE: its device, what it may share, and where it logs. Thread-safe.</summary>
internal sealed record HostTee(ITeeDevice Device, PinBudget Budget, string VirtualMachine, ILogger Logger);
