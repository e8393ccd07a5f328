using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>What the guest asked its machine for (KVM_SYSTEM_EVENT_*); a number without a name is KVM's.</summary>
[Experimental("OPTEE001")]
public enum KvmSystemEventType
{
    /// <summary>KVM_SYSTEM_EVENT_SHUTDOWN: power off.</summary>
    Shutdown = 1,

    /// <summary>KVM_SYSTEM_EVENT_RESET: reboot.</summary>
    Reset = 2,

    /// <summary>KVM_SYSTEM_EVENT_CRASH.</summary>
    Crash = 3,

    /// <summary>KVM_SYSTEM_EVENT_WAKEUP.</summary>
    WakeUp = 4,

    /// <summary>KVM_SYSTEM_EVENT_SUSPEND.</summary>
    Suspend = 5,
}
