using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>What KVM can do on arm64 only.</summary>
/// <remarks>As thread-safe as the object it is called on: a vCPU belongs to its thread.</remarks>
[Experimental("OPTEE001")]
public static unsafe class KvmArm64
{
    private const uint KVM_ARM_VCPU_TIMER_CTRL = 1;

    /// <summary>Initialises, or resets, a vCPU as the host's own kind of CPU (KVM_ARM_VCPU_INIT).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="features">What it is to have.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void Initialize(this KvmVcpu vcpu, Arm64VcpuFeatures features)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        Arm64VcpuInit init = default;

        // The kernel fills the structure during the call only.
        if (LibC.Ioctl(vcpu.Vm.Handle, Arm64Ioctl.KVM_ARM_PREFERRED_TARGET, &init) < 0)
        {
            throw new SystemCallException("KVM_ARM_PREFERRED_TARGET", Errno.Last, "ENOTTY: this host is not arm64.");
        }

        init.Features[0] |= (uint)features;
        vcpu.Control(
            Arm64Ioctl.KVM_ARM_VCPU_INIT, $"KVM_ARM_VCPU_INIT ({features})", ref init,
            "EINVAL, ENOENT: the host does not know a feature. EINVAL at a second time: the features differ from the"
                + " first.");
    }

    /// <summary>Completes a feature sized after <see cref="Initialize"/> (KVM_ARM_VCPU_FINALIZE).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="feature">One feature, such as <see cref="Arm64VcpuFeatures.Sve"/>.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void Complete(this KvmVcpu vcpu, Arm64VcpuFeatures feature)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        int number = BitOperations.Log2((uint)feature);
        vcpu.Control(
            Arm64Ioctl.KVM_ARM_VCPU_FINALIZE, $"KVM_ARM_VCPU_FINALIZE ({feature})", ref number,
            "EPERM: the vCPU has not the feature, or it is complete. ENOEXEC: the vCPU is not initialised.");
    }

    /// <summary>Reads a 64-bit register (KVM_GET_ONE_REG).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="register">The register.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The register has another size.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <remarks>For other sizes see <see cref="KvmVcpu.GetRegister"/>.</remarks>
    public static ulong GetRegister(this KvmVcpu vcpu, Arm64Register register)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        return vcpu.GetRegister<ulong>(register.Id);
    }

    /// <inheritdoc cref="GetRegister" path="/*[not(self::summary)]"/>
    /// <summary>Writes a 64-bit register (KVM_SET_ONE_REG).</summary>
    public static void SetRegister(this KvmVcpu vcpu, Arm64Register register, ulong value)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        vcpu.SetRegister(register.Id, value);
    }

    /// <summary>Sets which private interrupt the vCPU's virtual timer raises (KVM_ARM_VCPU_TIMER_IRQ_VTIMER). After the
    /// GIC is made, before the first run.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="interrupt">The GIC number, 16–31; KVM's own choice is 27. The same for all vCPUs of a VM.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetVirtualTimerInterrupt(this KvmVcpu vcpu, int interrupt)
    {
        const ulong KVM_ARM_VCPU_TIMER_IRQ_VTIMER = 0;
        ArgumentNullException.ThrowIfNull(vcpu);
        vcpu.SetAttribute(KVM_ARM_VCPU_TIMER_CTRL, KVM_ARM_VCPU_TIMER_IRQ_VTIMER, in interrupt);
    }

    /// <inheritdoc cref="SetVirtualTimerInterrupt" path="/*[not(self::summary)]"/>
    /// <summary>Sets which private interrupt the vCPU's physical timer raises (KVM_ARM_VCPU_TIMER_IRQ_PTIMER; KVM's own
    /// choice is 30). After the GIC is made, before the first run.</summary>
    public static void SetPhysicalTimerInterrupt(this KvmVcpu vcpu, int interrupt)
    {
        const ulong KVM_ARM_VCPU_TIMER_IRQ_PTIMER = 1;
        ArgumentNullException.ThrowIfNull(vcpu);
        vcpu.SetAttribute(KVM_ARM_VCPU_TIMER_CTRL, KVM_ARM_VCPU_TIMER_IRQ_PTIMER, in interrupt);
    }

    /// <summary>Sets what KVM does with a range of calls (KVM_ARM_VM_SMCCC_FILTER). Before the first run.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="first">The first function identifier.</param>
    /// <param name="count">How many identifiers follow each other.</param>
    /// <param name="action">What KVM does with them.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vm"/> is <see langword="null"/>.</exception>
    /// <exception cref="NotSupportedException">The kernel has no SMCCC filter (arm64, Linux 6.4 and later).</exception>
    /// <exception cref="SystemCallException">The range is filtered already, or a vCPU has run.</exception>
    public static void FilterCalls(this KvmVm vm, uint first, uint count, Arm64SmcccAction action)
    {
        ArgumentNullException.ThrowIfNull(vm);
        using HandleScope file = new(vm.Handle);
        SmcccFilter.CheckSupport(file.Descriptor);
        SmcccFilter.Set(file.Descriptor, first, count, action);
    }
}
