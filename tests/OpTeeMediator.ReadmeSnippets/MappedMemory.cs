using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about memory that is mapped; a test runs it.</summary>
internal static class MappedMemory
{
    internal static void Run(nint hostAddress, ulong size, Action<IGuestMemory> use)
    {
        // <snippet>
        // A region that the VMM has mapped, without a file.
        var region = new MappedMemoryRegion(new GuestRange(0x4000_0000, size), hostAddress);
        using var memory = MappedGuestMemory.Create(region);
        // </snippet>
        use(memory);
    }
}
