using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>KVM's SMCCC filter: a device attribute of the VM that decides which calls leave the guest.</summary>
/// <remarks>Source: Documentation/virt/kvm/devices/vm.rst, "KVM_ARM_VM_SMCCC_CTRL".</remarks>
internal static unsafe class SmcccFilter
{
    /// <summary>The attribute's group.</summary>
    internal const uint KVM_ARM_VM_SMCCC_CTRL = 0;

    internal const ulong KVM_ARM_VM_SMCCC_FILTER = 0;

    /// <summary>Finds out whether KVM has the filter. No capability tells; the attribute itself does.</summary>
    /// <exception cref="NotSupportedException">It has not.</exception>
    /// <exception cref="SystemCallException">The descriptor is not a VM's.</exception>
    internal static void CheckSupport(int vmFd)
    {
        KvmDeviceAttribute argument = new() { Group = KVM_ARM_VM_SMCCC_CTRL, Attribute = KVM_ARM_VM_SMCCC_FILTER };
        if (LibC.Ioctl(vmFd, KvmIoctl.KVM_HAS_DEVICE_ATTR, &argument) != 0)
        {
            throw MissingFor(Errno.Last);
        }
    }

    /// <summary>Sets what KVM does with the calls of one range.</summary>
    /// <exception cref="SystemCallException">KVM refuses it.</exception>
    internal static void Set(int vmFd, uint first, uint count, Arm64SmcccAction action)
    {
        KvmSmcccFilter filter = new() { Base = first, FunctionCount = count, Action = (byte)action };
        KvmDeviceAttribute argument = new()
        {
            Group = KVM_ARM_VM_SMCCC_CTRL,
            Attribute = KVM_ARM_VM_SMCCC_FILTER,
            Address = &filter,
        };
        if (LibC.Ioctl(vmFd, KvmIoctl.KVM_SET_DEVICE_ATTR, &argument) != 0)
        {
            throw FailureFor(Errno.Last, first, count);
        }
    }

    internal static Exception MissingFor(int error) => error == Errno.EBADF
        ? new SystemCallException(
            "KVM_HAS_DEVICE_ATTR for the SMCCC filter", error,
            "The descriptor is not open; expected a VM's (KVM_CREATE_VM).")
        : new NotSupportedException(
            $"KVM has no SMCCC filter here (KVM_HAS_DEVICE_ATTR: {Errno.NameOf(error)}), so a guest's SMCs cannot"
                + " reach user space. It needs arm64 and Linux 6.4 or later, and the file descriptor of a VM"
                + " (KVM_CREATE_VM).");

    internal static SystemCallException FailureFor(int error, uint first, uint count) => new(
        $"Filtering the SMCCC calls 0x{first:x8}–0x{unchecked(first + count - 1):x8} (KVM_ARM_VM_SMCCC_FILTER)",
        error,
        error switch
        {
            Errno.EEXIST =>
                "Part of the range is filtered already, or belongs to the Arm Architecture Calls that KVM keeps for"
                    + " itself: filter each range once, and keep 0x80000000–0x8000ffff and 0xc0000000–0xc000ffff"
                    + " out of them.",
            Errno.EBUSY => "A vCPU of this VM has run: apply the filter before the first KVM_RUN.",
            Errno.EINVAL => "The range is empty or wraps.",
            _ => "",
        });
}
