using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>What KVM does with a guest's SMCCC call (KVM_SMCCC_FILTER_*).</summary>
[Experimental("OPTEE001")]
public enum Arm64SmcccAction
{
    /// <summary>KVM_SMCCC_FILTER_HANDLE: KVM answers it, as without a filter.</summary>
    Handle = 0,

    /// <summary>KVM_SMCCC_FILTER_DENY: KVM answers NOT_SUPPORTED.</summary>
    Deny = 1,

    /// <summary>KVM_SMCCC_FILTER_FWD_TO_USER: an exit of the kind <see cref="KvmExitReason.Hypercall"/>.</summary>
    ForwardToUser = 2,
}
