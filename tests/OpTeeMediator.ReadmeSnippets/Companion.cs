using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The README's snippet about the companion, compiled; a test compares the two.</summary>
internal static class Companion
{
    internal static async Task RunAsync()
    {
        // <README>
        #pragma warning disable OPTEE001    // experimental: the companion may still change
        using var memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 256 << 20));
        var options = new OpTeeCompanionOptions { Image = OpTeeImage.Load(OpTeeImage.DebianPath) };
        await using IGuestOpTee optee = OpTeeCompanion.Start(memory, options);

        // The rest as above. The guest's device tree reserves optee.ReservedMemory.
        var smc = new SmcRouter(optee);
        // </README>
    }
}
