using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>An access outside memory that the hardware does not describe (KVM_EXIT_ARM_NISV, arm64).</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
/// <param name="Syndrome">ESR_EL2's instruction specific syndrome.</param>
/// <param name="Address">The guest address.</param>
[Experimental("OPTEE001")]
public readonly record struct KvmNoSyndromeExit(ulong Syndrome, ulong Address);
