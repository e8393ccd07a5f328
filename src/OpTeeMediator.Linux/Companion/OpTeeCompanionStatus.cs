using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Linux.Companion;

/// <summary>How an <see cref="OpTeeCompanion"/> is at a moment.</summary>
/// <param name="IsAlive">Whether its OP-TEE serves the guest.</param>
/// <param name="Starts">How often an OP-TEE was started: 1, and one more for each reset and each failure.</param>
/// <param name="LastStart">How long the last start took.</param>
/// <param name="Statistics">What the present OP-TEE has done.</param>
/// <remarks>Immutable, hence thread-safe.</remarks>
[Experimental("OPTEE001")]
public readonly record struct OpTeeCompanionStatus(
    bool IsAlive, int Starts, TimeSpan LastStart, OpTeeCompanionStatistics Statistics);
