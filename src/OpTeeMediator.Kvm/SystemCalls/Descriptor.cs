using Microsoft.Win32.SafeHandles;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>Takes over descriptors that the kernel has made.</summary>
internal static class Descriptor
{
    /// <summary>Takes over a descriptor, which a child process of the VMM does not inherit.</summary>
    /// <param name="descriptor">The descriptor, which is this object's from now on.</param>
    /// <remarks>KVM makes its descriptors with O_CLOEXEC; the TEE driver's shared memory has it up to Linux 5.16 only
    /// (tee_shm_get_fd). A child that inherited one would keep the pages pinned and the context open. The flag is set
    /// on all, so that nothing depends on a kernel's version; a process that is started by another thread between the
    /// two calls still inherits, which no call of the driver's can prevent.</remarks>
    internal static SafeFileHandle Own(int descriptor)
    {
        SafeFileHandle file = new(descriptor, ownsHandle: true);
        _ = LibC.Control(file, LibC.F_SETFD, LibC.FD_CLOEXEC);
        return file;
    }
}
