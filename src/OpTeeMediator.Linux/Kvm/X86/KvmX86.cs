using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Linux.Interop;

namespace OpTeeMediator.Linux.Kvm.X86;

/// <summary>What KVM can do on x86-64 only.</summary>
/// <remarks>As thread-safe as the object it is called on: a vCPU belongs to its thread.</remarks>
[Experimental("OPTEE001")]
public static unsafe class KvmX86
{
    // struct kvm_cpuid2: nent, padding, entries[].
    private const int CpuidHeaderSize = 8;

    /// <summary>What CPUID may tell a guest on this host (KVM_GET_SUPPORTED_CPUID).</summary>
    /// <param name="system">The host's KVM.</param>
    /// <returns>The leaves.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="system"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86CpuidEntry[] GetSupportedCpuid(this KvmSystem system)
    {
        ArgumentNullException.ThrowIfNull(system);
        for (int capacity = 128; ; capacity *= 2)
        {
            byte[] buffer = new byte[CpuidHeaderSize + (capacity * sizeof(X86CpuidEntry))];
            MemoryMarshal.Write(buffer, capacity);
            int answer;
            fixed (byte* address = buffer)
            {
                // The kernel fills the buffer, whose capacity it was told, during the call only.
                answer = LibC.Ioctl(system.Handle, X86Ioctl.KVM_GET_SUPPORTED_CPUID, address);
            }

            if (answer == 0)
            {
                int count = MemoryMarshal.Read<int>(buffer);
                return MemoryMarshal.Cast<byte, X86CpuidEntry>(buffer.AsSpan(CpuidHeaderSize))[..count].ToArray();
            }

            int error = Errno.Last;
            if (error != Errno.E2BIG || capacity > 1 << 16)
            {
                throw new SystemCallException("KVM_GET_SUPPORTED_CPUID", error, "");
            }
        }
    }

    /// <summary>Says what CPUID tells the guest (KVM_SET_CPUID2). Before the vCPU's first run.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="entries">The leaves.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetCpuid(this KvmVcpu vcpu, ReadOnlySpan<X86CpuidEntry> entries)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        byte[] buffer = new byte[CpuidHeaderSize + (entries.Length * sizeof(X86CpuidEntry))];
        MemoryMarshal.Write(buffer, entries.Length);
        MemoryMarshal.AsBytes(entries).CopyTo(buffer.AsSpan(CpuidHeaderSize));
        vcpu.Control(X86Ioctl.KVM_SET_CPUID2, "KVM_SET_CPUID2", ref buffer[0], "E2BIG: too many leaves. EINVAL: the vCPU has run already.");
    }

    /// <summary>Creates an interrupt controller in the kernel (KVM_CREATE_IRQCHIP). Before the first vCPU.</summary>
    /// <param name="vm">The VM.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vm"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void CreateInterruptController(this KvmVm vm)
    {
        ArgumentNullException.ThrowIfNull(vm);
        if (LibC.Ioctl(vm.Handle, X86Ioctl.KVM_CREATE_IRQCHIP, 0) < 0)
        {
            throw new SystemCallException("KVM_CREATE_IRQCHIP", Errno.Last, "EEXIST: the VM has one. EINVAL: the VM has vCPUs already.");
        }
    }

    /// <summary>Gives KVM three pages of guest addresses that it needs on Intel for real mode (KVM_SET_TSS_ADDR). Before the first vCPU.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="address">The address, below 4 GiB, of three pages that are neither memory nor a device.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vm"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetTssAddress(this KvmVm vm, uint address)
    {
        ArgumentNullException.ThrowIfNull(vm);
        if (LibC.Ioctl(vm.Handle, X86Ioctl.KVM_SET_TSS_ADDR, address) < 0)
        {
            throw new SystemCallException($"KVM_SET_TSS_ADDR 0x{address:x}", Errno.Last, "");
        }
    }

    /// <summary>Reads the general registers (KVM_GET_REGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <returns>The registers.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86Registers GetRegisters(this KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        X86Registers registers = default;
        vcpu.Control(X86Ioctl.KVM_GET_REGS, "KVM_GET_REGS", ref registers, "");
        return registers;
    }

    /// <summary>Writes the general registers (KVM_SET_REGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="registers">The registers.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetRegisters(this KvmVcpu vcpu, in X86Registers registers)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        vcpu.Control(X86Ioctl.KVM_SET_REGS, "KVM_SET_REGS", ref Unsafe.AsRef(in registers), "");
    }

    /// <summary>Reads segment and control registers (KVM_GET_SREGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <returns>The registers.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86SpecialRegisters GetSpecialRegisters(this KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        X86SpecialRegisters registers = default;
        vcpu.Control(X86Ioctl.KVM_GET_SREGS, "KVM_GET_SREGS", ref registers, "");
        return registers;
    }

    /// <summary>Writes segment and control registers (KVM_SET_SREGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="registers">The registers.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetSpecialRegisters(this KvmVcpu vcpu, in X86SpecialRegisters registers)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        vcpu.Control(X86Ioctl.KVM_SET_SREGS, "KVM_SET_SREGS", ref Unsafe.AsRef(in registers), "EINVAL: the registers contradict each other.");
    }

    /// <summary>Lets KVM put registers into the shared page at every exit (KVM_CAP_SYNC_REGS), which saves the system calls for them.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="classes">The classes to share; none ends it.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    /// <exception cref="NotSupportedException">This host does not share these registers.</exception>
    public static void ShareRegisters(this KvmVcpu vcpu, X86RegisterClasses classes)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        X86RegisterClasses offered = (X86RegisterClasses)vcpu.Vm.CheckCapability(KvmCapability.SharedRegisters);
        if ((classes & ~offered) != 0)
        {
            throw new NotSupportedException($"This host's KVM shares {offered} in kvm_run, not {classes}; use the methods that read and write them.");
        }

        Unsafe.WriteUnaligned(vcpu.Page + KvmRunLayout.ValidRegisters, (ulong)classes);
    }

    /// <summary>The general registers in the shared page, as they were at the last exit.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.General"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref readonly X86Registers SharedRegisters(this KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        return ref SharedAt<X86Registers>(vcpu, 0);
    }

    /// <summary>The general registers in the shared page, for changes that take effect when the vCPU runs again.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.General"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref X86Registers ChangeSharedRegisters(this KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        MarkDirty(vcpu, X86RegisterClasses.General);
        return ref SharedAt<X86Registers>(vcpu, 0);
    }

    /// <summary>Segment and control registers in the shared page, as they were at the last exit.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.Special"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref readonly X86SpecialRegisters SharedSpecialRegisters(this KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        return ref SharedAt<X86SpecialRegisters>(vcpu, sizeof(X86Registers));
    }

    /// <summary>Segment and control registers in the shared page, for changes that take effect when the vCPU runs again.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.Special"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="vcpu"/> is <see langword="null"/>.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref X86SpecialRegisters ChangeSharedSpecialRegisters(this KvmVcpu vcpu)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        MarkDirty(vcpu, X86RegisterClasses.Special);
        return ref SharedAt<X86SpecialRegisters>(vcpu, sizeof(X86Registers));
    }

    // Within the 2048 bytes of kvm_run that hold shared registers, in the order of struct kvm_sync_regs.
    private static ref T SharedAt<T>(KvmVcpu vcpu, int offset)
        where T : unmanaged => ref Unsafe.AsRef<T>(vcpu.Page + KvmRunLayout.SharedRegisters + offset);

    private static void MarkDirty(KvmVcpu vcpu, X86RegisterClasses classes)
    {
        byte* dirty = vcpu.Page + KvmRunLayout.DirtyRegisters;
        Unsafe.WriteUnaligned(dirty, Unsafe.ReadUnaligned<ulong>(dirty) | (ulong)classes);
    }
}
