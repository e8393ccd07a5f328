using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>What the counters of an arm64 VM were at a moment, by which its guest tells the time.</summary>
/// <remarks>
/// <para>They go on while no vCPU runs. A VMM that stops a VM reads them when the last vCPU has stopped, and sets them
/// right before the vCPUs run again, here or where the VM is restored: then its guest does not notice how long it was
/// stopped. Otherwise a Linux guest that was stopped for 20 s or more takes its vCPUs for stuck.</para>
/// </remarks>
/// <param name="Virtual">The virtual counter (CNTVCT_EL0), in ticks of CNTFRQ_EL0.</param>
/// <param name="Physical">The physical counter (CNTPCT_EL0), in the same ticks.</param>
[Experimental("OPTEE001")]
public readonly record struct Arm64Counters(ulong Virtual, ulong Physical)
{
    /// <summary>Reads the counters of a VM.</summary>
    /// <param name="vcpu">One of its vCPUs, which does not run; KVM has the same counters for all.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static Arm64Counters Read(KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        return new(vcpu.GetRegister(Arm64Register.VirtualCounter), vcpu.GetRegister(Arm64Register.PhysicalCounter));
    }

    /// <summary>Lets the virtual counter of a VM go on from here. The physical counter is the host's, unless that would
    /// set it back.</summary>
    /// <param name="vcpu">One of its vCPUs. None runs.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void Set(KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        if (vcpu.GetRegister(Arm64Register.PhysicalCounter) < Physical)
        {
            vcpu.SetRegister(Arm64Register.PhysicalCounter, Physical);
        }

        // Last, and once: KVM moves the counter of the whole VM.
        vcpu.SetRegister(Arm64Register.VirtualCounter, Virtual);
    }
}
