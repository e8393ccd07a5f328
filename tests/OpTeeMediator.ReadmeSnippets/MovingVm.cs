using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.State;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about saving and restoring; a test runs it.</summary>
internal static class MovingVm
{
    internal static async Task<OpTeeGuest?> MoveAsync(
        OpTeeGuest optee, IGuestMemory memory, ITeeBackend tee, OpTeeGuestOptions options, byte[] key)
    {
        // <snippet>
        // The vCPUs run: operations that have begun come to their end. False: some have not, within ShutdownDeadline.
        bool isDrained = await optee.DrainAsync();

        // Stop the vCPUs first: none is in Handle then.
        bool isPaused = await optee.PauseAsync();
        byte[] state = await optee.SaveAsync(new OpTeeStateOptions { Key = key });

        // When the VM goes on elsewhere for certain: frees all of it here, and tells applications of no end.
        await optee.AbandonAsync();

        // In the other process, with the VM's memory and the same identity.
        OpTeeGuest restored =
            await OpTeeGuest.RestoreAsync(memory, tee, options, state, new OpTeeStateOptions { Key = key });
        restored.Resume();
        // </snippet>
        return isDrained && isPaused ? restored : null;
    }
}
