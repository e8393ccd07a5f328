using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;

#pragma warning disable OPTEE001 // experimental: companions and their state may still change

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about moving a companion while it runs. It needs KVM on arm64.</summary>
internal static class MovingRunningCompanion
{
    internal static async Task<OpTeeCompanion> MoveAsync(
        OpTeeCompanion companion, KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options,
        Stream stream, VmStateOptions stateOptions)
    {
        // <snippet>
        using OpTeeCompanionCopy copy = companion.StartCopy(stateOptions);
        long all = copy.SaveRound(stream);
        long writtenMeanwhile = copy.SaveRound(stream);
        bool isPaused = await companion.PauseAsync();
        await companion.SaveAsync(stream, stateOptions, copy);

        // In the other process, for the VM with the same memory.
        using OpTeeCompanionArrival arrival = new(kvm, memory, options, stateOptions);
        arrival.RestoreRound(stream);
        arrival.RestoreRound(stream);
        OpTeeCompanion restored = await OpTeeCompanion.RestoreAsync(stream, stateOptions, arrival);
        restored.Resume();
        // </snippet>
        return isPaused && writtenMeanwhile < all
            ? restored
            : throw new InvalidOperationException("OP-TEE does not come to a halt.");
    }
}
