using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Linux.Guests;

/// <summary>Brings SMCs from KVM (arm64, Linux 6.4 and later) to an <see cref="ISmcHandler"/> and back.</summary>
/// <remarks>
/// <para>Works with a VMM's own code for KVM (file descriptors and <c>struct kvm_run</c>), or with this library's
/// handles.</para>
/// <code>
/// KvmSmccc.ForwardToUser(vmFd, smc);           // once, before the first KVM_RUN
///
/// case KVM_EXIT_HYPERCALL:                     // in each vCPU's thread
///     KvmSmccc.Handle(vcpuFd, run, smc);
///     break;
/// </code>
/// <para>Thread-safe: each vCPU's thread handles its own calls.</para>
/// </remarks>
public static unsafe class KvmSmccc
{
    /// <summary>Makes KVM forward the calls that a handler answers to user space.</summary>
    /// <param name="vm">The VM's file.</param>
    /// <param name="handler">The handler, most often a <see cref="SmcRouter"/>; its <see cref="ISmcHandler.Ranges"/>
    /// become KVM's SMCCC filter.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="NotSupportedException">This kernel has no SMCCC filter; the message says which has.</exception>
    /// <exception cref="SystemCallException">KVM refuses a range, as one that is filtered already, or any once a vCPU
    /// has run. Earlier ranges stay in force.</exception>
    public static void ForwardToUser(SafeHandle vm, ISmcHandler handler)
    {
        ArgumentNullException.ThrowIfNull(vm);
        using HandleScope file = new(vm);
        ForwardToUser(file.Descriptor, handler);
    }

    /// <inheritdoc cref="ForwardToUser(SafeHandle, ISmcHandler)" path="/*[not(self::param)]"/>
    /// <param name="vmFd">The VM's file descriptor.</param>
    /// <param name="handler">The handler, most often a <see cref="SmcRouter"/>; its <see cref="ISmcHandler.Ranges"/>
    /// become KVM's SMCCC filter.</param>
    public static void ForwardToUser(int vmFd, ISmcHandler handler)
    {
        ArgumentNullException.ThrowIfNull(handler);
        SmcccFilter.CheckSupport(vmFd);
        foreach (SmcFunctionRange range in handler.Ranges)
        {
            SmcccFilter.Set(vmFd, range.First.Value, range.Count, Arm64SmcccAction.ForwardToUser);
        }
    }

    /// <summary>Answers the call of a KVM_EXIT_HYPERCALL that the guest made with SMC.</summary>
    /// <param name="vcpuFd">The vCPU's file descriptor.</param>
    /// <param name="run">Where the vCPU's <c>struct kvm_run</c> is mapped.</param>
    /// <param name="handler">The handler.</param>
    /// <returns>What the call has cost.</returns>
    /// <inheritdoc cref="Handle(int, nint, ISmcHandler, SmcccConduit)" path="/exception"/>
    /// <remarks>Reads the registers the call needs, and writes those that changed; a call that the handler does not
    /// answer, and an HVC, get NOT_SUPPORTED. Then run the vCPU again: its program counter is behind the instruction
    /// already, or on it if the handler wants the call made again (<see cref="SmcOutcomeKind.Retry"/>). Call it on the
    /// vCPU's thread; it allocates nothing.</remarks>
    public static SmcccCallReport Handle(int vcpuFd, nint run, ISmcHandler handler) =>
        Handle(vcpuFd, run, handler, SmcccConduit.Smc);

    /// <summary>Answers the call of a KVM_EXIT_HYPERCALL.</summary>
    /// <param name="vcpuFd">The vCPU's file descriptor.</param>
    /// <param name="run">Where the vCPU's <c>struct kvm_run</c> is mapped.</param>
    /// <param name="handler">The handler.</param>
    /// <param name="conduit">The instruction that the guest was told to use; the other one gets NOT_SUPPORTED.</param>
    /// <returns>What the call has cost.</returns>
    /// <exception cref="ArgumentNullException">
    /// <paramref name="handler"/> is <see langword="null"/>, or <paramref name="run"/> is 0.</exception>
    /// <exception cref="ArgumentException">The vCPU's last exit is not KVM_EXIT_HYPERCALL.</exception>
    /// <exception cref="SystemCallException">KVM refuses access to a register.</exception>
    /// <remarks>Call it on the vCPU's thread; it allocates nothing.</remarks>
    public static SmcccCallReport Handle(int vcpuFd, nint run, ISmcHandler handler, SmcccConduit conduit)
    {
        ArgumentNullException.ThrowIfNull(handler);
        ArgumentNullException.ThrowIfNull((void*)run, nameof(run));

        // The caller vouches for the pointer, as it does towards the kernel.
        byte* page = (byte*)run;
        KvmExitReason reason = (KvmExitReason)Unsafe.ReadUnaligned<uint>(page + KvmRunLayout.ExitReason);
        if (reason != KvmExitReason.Hypercall)
        {
            throw new ArgumentException(
                $"The vCPU's last exit is {reason}; expected KVM_EXIT_HYPERCALL ({(int)KvmExitReason.Hypercall}).",
                nameof(run));
        }

        KvmHypercallExit exit = new(
            Unsafe.ReadUnaligned<ulong>(page + KvmRunLayout.HypercallNumber),
            Unsafe.ReadUnaligned<ulong>(page + KvmRunLayout.HypercallFlags));
        KvmRegisterFile registers = new(vcpuFd);
        return SmcccCall.Handle(ref registers, exit, handler, conduit);
    }

    /// <inheritdoc cref="Handle(int, nint, ISmcHandler, SmcccConduit)" path="/*[not(self::param)]"/>
    /// <param name="vcpu">The vCPU's file.</param>
    /// <param name="run">Where the vCPU's <c>struct kvm_run</c> is mapped.</param>
    /// <param name="handler">The handler.</param>
    /// <param name="conduit">The instruction that the guest was told to use; the other one gets NOT_SUPPORTED.</param>
    public static SmcccCallReport Handle(SafeHandle vcpu, nint run, ISmcHandler handler, SmcccConduit conduit)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        using HandleScope file = new(vcpu);
        return Handle(file.Descriptor, run, handler, conduit);
    }
}
