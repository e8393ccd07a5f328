using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;

namespace MinimalVmm.X86;

/// <summary>The registers of a vCPU on x86-64. To be used by the vCPU's thread.</summary>
internal static partial class KvmX86
{
    /// <summary>Reads the general registers (KVM_GET_REGS).</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86Registers GetRegisters(this KvmVcpu vcpu)
    {
        X86Registers registers = default;
        Control(vcpu, X86Ioctl.KVM_GET_REGS, nameof(X86Ioctl.KVM_GET_REGS), ref registers);
        return registers;
    }

    /// <summary>Writes the general registers (KVM_SET_REGS).</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static void SetRegisters(this KvmVcpu vcpu, X86Registers registers) =>
        Control(vcpu, X86Ioctl.KVM_SET_REGS, nameof(X86Ioctl.KVM_SET_REGS), ref registers);

    /// <summary>Reads segment and control registers (KVM_GET_SREGS).</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static X86SpecialRegisters GetSpecialRegisters(this KvmVcpu vcpu)
    {
        X86SpecialRegisters registers = default;
        Control(vcpu, X86Ioctl.KVM_GET_SREGS, nameof(X86Ioctl.KVM_GET_SREGS), ref registers);
        return registers;
    }

    /// <summary>Writes segment and control registers (KVM_SET_SREGS).</summary>
    /// <exception cref="SystemCallException">KVM refuses, for example registers that contradict each other.</exception>
    public static void SetSpecialRegisters(this KvmVcpu vcpu, X86SpecialRegisters registers) =>
        Control(vcpu, X86Ioctl.KVM_SET_SREGS, nameof(X86Ioctl.KVM_SET_SREGS), ref registers);

    private static void Control<T>(KvmVcpu vcpu, uint request, string name, ref T argument)
        where T : unmanaged
    {
        if (Ioctl(vcpu.Handle, request, ref Unsafe.As<T, byte>(ref argument)) < 0)
        {
            throw new SystemCallException($"{name} of vCPU {vcpu.Id}", Marshal.GetLastPInvokeError(), "");
        }
    }

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(SafeHandle file, nuint request, ref byte argument);
}
