using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>Whether a vCPU may run (KVM_MP_STATE_*); a number that is not named here may be cast.</summary>
[Experimental("OPTEE001")]
public enum KvmMpState
{
    /// <summary>KVM_MP_STATE_RUNNABLE: it runs, or could.</summary>
    Runnable = 0,

    /// <summary>KVM_MP_STATE_UNINITIALIZED (x86): an application processor before its INIT.</summary>
    Uninitialized = 1,

    /// <summary>KVM_MP_STATE_HALTED (x86): it waits for an interrupt.</summary>
    Halted = 3,

    /// <summary>KVM_MP_STATE_STOPPED (arm64): it is off, as after PSCI CPU_OFF or before CPU_ON.</summary>
    Stopped = 5,

    /// <summary>KVM_MP_STATE_SUSPENDED (arm64): it waits for a wake-up event.</summary>
    Suspended = 10,
}
