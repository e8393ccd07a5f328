using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;

namespace MinimalVmm.X86;

/// <summary>What KVM can do on x86-64 only.</summary>
/// <remarks>As thread-safe as the object it is called on: a vCPU belongs to its thread.</remarks>
internal static unsafe partial class KvmX86
{
    // struct kvm_cpuid2: nent, padding, entries[].
    private const int CpuidHeaderSize = 8;

    // Offsets in struct kvm_run.
    internal const int ValidRegistersOffset = 288;
    internal const int DirtyRegistersOffset = 296;
    internal const int SharedRegistersOffset = 304;

    /// <summary>What CPUID may tell a guest on this host (KVM_GET_SUPPORTED_CPUID).</summary>
    /// <param name="system">The host's KVM.</param>
    /// <returns>The leaves.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86CpuidEntry[] GetSupportedCpuid(this KvmSystem system)
    {
        for (int capacity = 128; ; capacity *= 2)
        {
            byte[] buffer = new byte[CpuidHeaderSize + (capacity * sizeof(X86CpuidEntry))];
            MemoryMarshal.Write(buffer, capacity);

            // The kernel fills the buffer, whose capacity it is given, during the call only.
            int answer = Ioctl(system.Handle, X86Ioctl.KVM_GET_SUPPORTED_CPUID, ref buffer[0]);

            if (answer == 0)
            {
                int count = MemoryMarshal.Read<int>(buffer);
                return MemoryMarshal.Cast<byte, X86CpuidEntry>(buffer.AsSpan(CpuidHeaderSize))[..count].ToArray();
            }

            const int E2BIG = 7;
            int error = Marshal.GetLastPInvokeError();
            if (error != E2BIG || capacity > 1 << 16)
            {
                throw new SystemCallException("KVM_GET_SUPPORTED_CPUID", error, "");
            }
        }
    }

    /// <summary>Says what CPUID tells the guest (KVM_SET_CPUID2). Before the vCPU's first run.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="entries">The leaves.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetCpuid(this KvmVcpu vcpu, ReadOnlySpan<X86CpuidEntry> entries)
    {
        byte[] buffer = new byte[CpuidHeaderSize + (entries.Length * sizeof(X86CpuidEntry))];
        MemoryMarshal.Write(buffer, entries.Length);
        MemoryMarshal.AsBytes(entries).CopyTo(buffer.AsSpan(CpuidHeaderSize));
        Control(vcpu, X86Ioctl.KVM_SET_CPUID2, "KVM_SET_CPUID2", ref buffer[0], "E2BIG: too many leaves. EINVAL: the vCPU has run already.");
    }

    /// <summary>Creates an interrupt controller in the kernel (KVM_CREATE_IRQCHIP). Before the first vCPU.</summary>
    /// <param name="vm">The VM.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void CreateInterruptController(this KvmVm vm)
    {
        if (Ioctl(vm.Handle, X86Ioctl.KVM_CREATE_IRQCHIP, 0) < 0)
        {
            throw new SystemCallException("KVM_CREATE_IRQCHIP", Marshal.GetLastPInvokeError(), "EEXIST: the VM has one. EINVAL: the VM has vCPUs already.");
        }
    }

    /// <summary>Gives KVM three pages of guest addresses that it needs on Intel for real mode (KVM_SET_TSS_ADDR). Before the first vCPU.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="address">The address, below 4 GiB, of three pages that are neither memory nor a device.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetTssAddress(this KvmVm vm, uint address)
    {
        if (Ioctl(vm.Handle, X86Ioctl.KVM_SET_TSS_ADDR, address) < 0)
        {
            throw new SystemCallException($"KVM_SET_TSS_ADDR 0x{address:x}", Marshal.GetLastPInvokeError(), "");
        }
    }

    /// <summary>Reads the general registers (KVM_GET_REGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <returns>The registers.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86Registers GetRegisters(this KvmVcpu vcpu)
    {
        X86Registers registers = default;
        Control(vcpu, X86Ioctl.KVM_GET_REGS, "KVM_GET_REGS", ref registers, "");
        return registers;
    }

    /// <summary>Writes the general registers (KVM_SET_REGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="registers">The registers.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetRegisters(this KvmVcpu vcpu, in X86Registers registers)
    {
        Control(vcpu, X86Ioctl.KVM_SET_REGS, "KVM_SET_REGS", ref Unsafe.AsRef(in registers), "");
    }

    /// <summary>Reads segment and control registers (KVM_GET_SREGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <returns>The registers.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86SpecialRegisters GetSpecialRegisters(this KvmVcpu vcpu)
    {
        X86SpecialRegisters registers = default;
        Control(vcpu, X86Ioctl.KVM_GET_SREGS, "KVM_GET_SREGS", ref registers, "");
        return registers;
    }

    /// <summary>Writes segment and control registers (KVM_SET_SREGS).</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="registers">The registers.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetSpecialRegisters(this KvmVcpu vcpu, in X86SpecialRegisters registers)
    {
        Control(vcpu, X86Ioctl.KVM_SET_SREGS, "KVM_SET_SREGS", ref Unsafe.AsRef(in registers), "EINVAL: the registers contradict each other.");
    }

    /// <summary>Lets KVM put registers into the shared page at every exit (KVM_CAP_SYNC_REGS), which saves the system calls for them.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="classes">The classes to share; none ends it.</param>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    /// <exception cref="NotSupportedException">This host does not share these registers.</exception>
    public static void ShareRegisters(this KvmVcpu vcpu, X86RegisterClasses classes)
    {
        X86RegisterClasses offered = (X86RegisterClasses)vcpu.Vm.CheckCapability(KvmCapability.SharedRegisters);
        if ((classes & ~offered) != 0)
        {
            throw new NotSupportedException($"This host's KVM shares {offered} in kvm_run, not {classes}; use the methods that read and write them.");
        }

        Unsafe.WriteUnaligned((byte*)vcpu.RunAddress + ValidRegistersOffset, (ulong)classes);
    }

    /// <summary>The general registers in the shared page, as they were at the last exit.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.General"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref readonly X86Registers SharedRegisters(this KvmVcpu vcpu)
    {
        return ref SharedAt<X86Registers>(vcpu, 0);
    }

    /// <summary>The general registers in the shared page, for changes that take effect when the vCPU runs again.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.General"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref X86Registers ChangeSharedRegisters(this KvmVcpu vcpu)
    {
        MarkDirty(vcpu, X86RegisterClasses.General);
        return ref SharedAt<X86Registers>(vcpu, 0);
    }

    /// <summary>Segment and control registers in the shared page, as they were at the last exit.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.Special"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref readonly X86SpecialRegisters SharedSpecialRegisters(this KvmVcpu vcpu)
    {
        return ref SharedAt<X86SpecialRegisters>(vcpu, sizeof(X86Registers));
    }

    /// <summary>Segment and control registers in the shared page, for changes that take effect when the vCPU runs again.</summary>
    /// <param name="vcpu">The vCPU, with <see cref="X86RegisterClasses.Special"/> shared.</param>
    /// <returns>The registers in place; valid until the vCPU runs again or is disposed of.</returns>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public static ref X86SpecialRegisters ChangeSharedSpecialRegisters(this KvmVcpu vcpu)
    {
        MarkDirty(vcpu, X86RegisterClasses.Special);
        return ref SharedAt<X86SpecialRegisters>(vcpu, sizeof(X86Registers));
    }

    // Within the 2048 bytes of kvm_run that hold shared registers, in the order of struct kvm_sync_regs.
    private static ref T SharedAt<T>(KvmVcpu vcpu, int offset)
        where T : unmanaged => ref Unsafe.AsRef<T>((byte*)vcpu.RunAddress + SharedRegistersOffset + offset);

    private static void MarkDirty(KvmVcpu vcpu, X86RegisterClasses classes)
    {
        byte* dirty = (byte*)vcpu.RunAddress + DirtyRegistersOffset;
        Unsafe.WriteUnaligned(dirty, Unsafe.ReadUnaligned<ulong>(dirty) | (ulong)classes);
    }

    private static void Control<T>(KvmVcpu vcpu, uint request, string name, ref T argument, string advice)
        where T : unmanaged
    {
        if (Ioctl(vcpu.Handle, request, ref Unsafe.As<T, byte>(ref argument)) < 0)
        {
            throw new SystemCallException($"{name} of vCPU {vcpu.Id}", Marshal.GetLastPInvokeError(), advice);
        }
    }

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(SafeHandle file, nuint request, ref byte argument);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(SafeHandle file, nuint request, nuint argument);
}
