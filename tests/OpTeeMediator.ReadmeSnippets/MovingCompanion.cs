using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;

#pragma warning disable OPTEE001 // experimental: companions and their state may still change

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about saving and restoring a companion. It needs KVM on arm64.</summary>
internal static class MovingCompanion
{
    internal static async Task<OpTeeCompanion> MoveAsync(
        OpTeeCompanion companion, MappedGuestMemory memory, OpTeeCompanionOptions options, Stream file, Guid vm,
        byte[] key)
    {
        // <snippet>
        bool isPaused = await companion.PauseAsync();
        await companion.SaveAsync(file, new VmStateOptions { VmIdentity = vm, Key = key });

        // In the other process, for the VM with the same memory.
        OpTeeCompanion restored = await OpTeeCompanion.RestoreAsync(
            memory, options, file, new VmStateOptions { VmIdentity = vm, Key = key });
        restored.Resume();
        // </snippet>
        return isPaused ? restored : throw new InvalidOperationException("OP-TEE does not come to a halt.");
    }
}
