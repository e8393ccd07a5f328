using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>The hardware refused to enter the guest (KVM_EXIT_FAIL_ENTRY): mostly a wrong register state.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
/// <param name="HardwareReason">The hardware's reason.</param>
/// <param name="Cpu">The host's CPU.</param>
[Experimental("OPTEE001")]
public readonly record struct KvmFailEntryExit(ulong HardwareReason, uint Cpu);
