using OpTeeMediator.Kvm;
using OpTeeMediator.Linux;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The README's snippet about the companion, compiled as a reader's project compiles it; a test compares the two.</summary>
internal static class Companion
{
    internal static async Task RunAsync()
    {
        // <README>
        #pragma warning disable OPTEE001    // experimental: companion and KVM handles may still change
        using var kvm = KvmSystem.Open();
        using var memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 256 << 20));
        await using var optee = OpTeeCompanion.Start(kvm, memory, new OpTeeCompanionOptions { Image = OpTeeImage.Load(OpTeeImage.DebianPath) });
        var smc = new SmcRouter(optee);     // the rest as above; the guest's device tree reserves optee.ReservedMemory
        // </README>
    }
}
