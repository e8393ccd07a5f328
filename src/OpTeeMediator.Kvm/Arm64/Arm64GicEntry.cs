using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>A part of a GIC's state: an attribute of KVM's device and its value.</summary>
/// <remarks>Plain numbers, which a VMM may store. Immutable, hence thread-safe.</remarks>
/// <param name="Group">The attribute's group (KVM_DEV_ARM_VGIC_GRP_*).</param>
/// <param name="Attribute">The attribute: a vCPU's affinity in bits 63:32, and a register.</param>
/// <param name="Value">The value; 64 bits for registers of a vCPU's interface, 32 bits for others.</param>
[Experimental("OPTEE001")]
public readonly record struct Arm64GicEntry(uint Group, ulong Attribute, ulong Value);
