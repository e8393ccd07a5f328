using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>A device that KVM emulates in the kernel (KVM_DEV_TYPE_*); other numbers than these may be cast.</summary>
[Experimental("OPTEE001")]
public enum KvmDeviceType
{
    /// <summary>KVM_DEV_TYPE_VFIO.</summary>
    Vfio = 4,

    /// <summary>KVM_DEV_TYPE_ARM_VGIC_V2.</summary>
    ArmGicV2 = 5,

    /// <summary>KVM_DEV_TYPE_ARM_VGIC_V3.</summary>
    ArmGicV3 = 7,

    /// <summary>KVM_DEV_TYPE_ARM_VGIC_ITS.</summary>
    ArmGicIts = 8,
}
