using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>The way into the secure world: a hypervisor's right to make an SMC itself.</summary>
/// <remarks>
/// Thread-safe: vCPU threads call it at the same time from within <see cref="OpTeeForwarder.Handle"/>, and so do
/// the threads that create, reset or dispose of a forwarder. No lock of the library is held meanwhile.
/// </remarks>
public interface ISecureMonitor
{
    /// <summary>Makes one SMC on a physical CPU, best on that which runs the calling vCPU, and waits for its
    /// return.</summary>
    /// <param name="registers">X0–X7 of the call; on return, X0–X7 as the secure world has left them. The others have
    /// no meaning.</param>
    /// <remarks>
    /// The secure world must see no interrupt of the guest as its own: where one is pending it returns FOREIGN_INTR, so
    /// that a call takes no longer than interrupts can wait. Throws nothing; whatever it throws leaves the call, and
    /// the memory that it uses, with OP-TEE for ever.
    /// </remarks>
    void MakeCall(ref SmcRegisters registers);
}
