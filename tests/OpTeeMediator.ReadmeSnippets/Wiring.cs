using OpTeeMediator.Linux.Guests;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about KVM's vCPU loop, compiled; a test compares the two.</summary>
internal static class Wiring
{
    /// <summary>What the VMM of the snippet has already.</summary>
    internal static void Run(IGuestOpTee optee, int vmFd, int vcpuFd, nint run, Func<bool> runVcpu)
    {
        // <snippet>
        var smc = new SmcRouter(optee);         // other services may sit beside the OP-TEE
        KvmSmccc.ForwardToUser(vmFd, smc);      // once, before the first KVM_RUN

        // In each vCPU's thread: KVM_RUN, and at KVM_EXIT_HYPERCALL the call, which reads the registers that it needs,
        // mediates, and writes back those that changed.
        while (runVcpu())
        {
            KvmSmccc.Handle(vcpuFd, run, smc);
        }
        // </snippet>
    }
}
