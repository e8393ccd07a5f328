using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about the companion, compiled; a test compares the two.</summary>
internal static class Companion
{
    internal static async Task RunAsync(Action<IGuestOpTee> use)
    {
        // <snippet>
        #pragma warning disable OPTEE001    // experimental: the companion may still change
        using var memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 256 << 20));
        var options = new OpTeeCompanionOptions { Image = OpTeeImage.Load(OpTeeImage.DebianPath) };
        await using IGuestOpTee optee = OpTeeCompanion.Start(memory, options);
        // </snippet>
        use(optee);
    }
}
