using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about forwarding, compiled; a test compares the two.</summary>
internal static class Forwarding
{
    /// <summary>What the VMM of the snippet has already.</summary>
    internal static async Task RunAsync(ISecureMonitor monitor, IGuestMemory memory, IPhysicalMemory physical)
    {
        // <snippet>
        // Once for the computer; then a handler for each VM.
        var opTee = new HostOpTee(monitor);
        await using IGuestOpTee optee = new OpTeeForwarder(opTee, memory, physical);
        // </snippet>
    }
}
