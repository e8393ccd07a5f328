using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>Makes SMCs to the secure world, as a hypervisor can.</summary>
/// <remarks>Thread-safe: vCPU threads call it at the same time from within <see cref="OpTeeForwarder.Handle"/>, and so
/// do the threads that create, reset or dispose of a forwarder. No lock of the library is held meanwhile.</remarks>
public interface ISecureMonitor
{
    /// <summary>Makes one SMC on a physical CPU, preferably the one that runs the calling vCPU.</summary>
    /// <param name="registers">X0–X7 of the call; on return, X0–X7 of the secure world. Others have no meaning.</param>
    /// <remarks>The secure world must see no interrupt of the guest as its own: where one is pending it returns
    /// FOREIGN_INTR, so that a call takes no longer than interrupts can wait. Should throw nothing: after an exception
    /// the call's state in OP-TEE is unknown, so its slot and memory are never used again.</remarks>
    void MakeCall(ref SmcRegisters registers);
}
