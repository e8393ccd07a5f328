using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The README's first snippet, compiled; a test compares the two.</summary>
internal static class Wiring
{
    internal sealed class MyApplication : TrustedApplication
    {
        public static TrustedApplicationManifest Manifest { get; } =
            new(new Guid("c5bd7b0e-5a0c-4c43-9d3a-0d2a4a1d5f11"));
    }

    /// <summary>What the VMM of the snippet has already.</summary>
    internal static async Task RunAsync(int vmFd, int vcpuFd, nint run, Func<bool> runVcpu)
    {
        // <README>
        // Or your own IGuestMemory.
        using var memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 256 << 20));
        var applications = new SoftwareTeeOptions().Add(MyApplication.Manifest, () => new MyApplication());
        var tee = new SoftwareTeeBackend(applications);

        var access = TeeAccess.Only(MyApplication.Manifest.Uuid, SoftwareTeeBackend.RandomNumberGeneratorUuid);
        await using IGuestOpTee optee = new OpTeeGuest(memory, tee, new OpTeeGuestOptions { Access = access });

        // Other services may sit beside it. The filter is set once, before the first KVM_RUN.
        var smc = new SmcRouter(optee);
        KvmSmccc.ForwardToUser(vmFd, smc);

        // In each vCPU's thread: KVM_RUN, and at KVM_EXIT_HYPERCALL a call, which reads the registers that it needs,
        // mediates, and writes back those that changed.
        while (runVcpu())
        {
            KvmSmccc.Handle(vcpuFd, run, smc);
        }
        // </README>
    }
}
