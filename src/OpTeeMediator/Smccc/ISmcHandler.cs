using System.Collections.Immutable;

namespace OpTeeMediator.Smccc;

/// <summary>A service that answers a guest's SMCs: a trusted OS, a firmware service, or a router to several.</summary>
/// <remarks>Implementations are thread-safe: any vCPU thread may call at any time.</remarks>
public interface ISmcHandler
{
    /// <summary>The function identifiers this handler answers; they never change and do not overlap.</summary>
    /// <remarks>One source for both <see cref="SmcRouter"/> and the hypervisor's SMCCC filter. Both compare all 32
    /// bits, so a handler names the identifiers with SMCCC 1.3's hint (bit 16) too; see
    /// <see cref="SmcFunctionId.WithoutHint"/>.</remarks>
    ImmutableArray<SmcFunctionRange> Ranges { get; }

    /// <summary>Answers one call.</summary>
    /// <param name="registers">The vCPU's registers at the call; on return, its answer.</param>
    /// <param name="loaded">The registers whose values the caller has filled in; X0 is always among them, and the
    /// others must read as 0. A VMM that gets all registers for free passes <see cref="SmcRegisterSet.All"/>.</param>
    /// <returns><see cref="SmcOutcomeKind.NotHandled"/>: not one of this handler's calls, the registers are untouched.
    /// <see cref="SmcOutcomeKind.Handled"/>: the registers hold a valid answer, on every path; write back the named
    /// ones. <see cref="SmcOutcomeKind.NeedsRegisters"/>: nothing happened yet; load the named registers and call
    /// again. Never returned when they are all in <paramref name="loaded"/>. <see cref="SmcOutcomeKind.Retry"/>:
    /// nothing happened yet, and the quantum is over or the VM is paused; run the vCPU again at the same instruction.
    /// Only handlers that say so return it.</returns>
    /// <remarks>Never throws, allocates nothing in the steady state, returns within the handler's quantum.</remarks>
    SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded);
}
