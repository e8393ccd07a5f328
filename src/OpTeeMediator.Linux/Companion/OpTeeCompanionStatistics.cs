using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What the OP-TEE of an <see cref="OpTeeCompanion"/> has done since it was started.</summary>
/// <param name="FastCalls">Fast calls answered.</param>
/// <param name="YieldingCalls">Yielding calls entered or resumed.</param>
/// <param name="Preemptions">How many of these came back because the quantum was over.</param>
/// <param name="NativeInterrupts">How often OP-TEE was entered for its own timer.</param>
/// <param name="DeviceAccesses">Accesses to its GIC, and to its UART if that is logged; each is an exit.</param>
/// <param name="RegisterAccesses">Registers of its vCPUs read or written; each is a system call.</param>
/// <param name="TimeInTee">How long its vCPUs ran, all together.</param>
/// <remarks>Immutable, hence thread-safe; the numbers are read one after the other.</remarks>
[Experimental("OPTEE001")]
public readonly record struct OpTeeCompanionStatistics(
    long FastCalls,
    long YieldingCalls,
    long Preemptions,
    long NativeInterrupts,
    long DeviceAccesses,
    long RegisterAccesses,
    TimeSpan TimeInTee);
