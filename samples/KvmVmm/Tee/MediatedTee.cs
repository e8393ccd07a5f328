using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.State;

namespace KvmVmm.Tee;

/// <summary>The mediated ways to a TEE: how they start, are saved and go on.</summary>
internal static class MediatedTee
{
    // Some hundred bytes for a call, a session or a buffer, and what applications save.
    private const int LargestState = 64 << 20;

    // What the mediator tells the VMM to set is for people an option.
    private const string LibraryOption =
        $"{nameof(OpTeeStateOptions)}.{nameof(OpTeeStateOptions.DropsWhatCannotMove)}";
    private const string CommandLineOption = "--save-sessions drop";

    // The state is a part of the VM's, which is encrypted.
    private static readonly OpTeeStateOptions StateOptions = new();

    /// <summary>Starts one, or goes on with one that was saved.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="backend">The TEE.</param>
    /// <param name="options">How it behaves.</param>
    /// <param name="state">Its state; <see langword="null"/> for a new one.</param>
    /// <returns>The mediator; paused if it was saved.</returns>
    /// <exception cref="InvalidDataException">The state is too large.</exception>
    /// <exception cref="OpTeeStateException">The state cannot be restored; the message says why.</exception>
    public static OpTeeGuest Start(
        TrackedGuestMemory memory, ITeeBackend backend, OpTeeGuestOptions options, Stream? state) => state is null
            ? new OpTeeGuest(memory, backend, options)
            : OpTeeGuest.RestoreAsync(memory, backend, options, Read(state), StateOptions).GetAwaiter().GetResult();

    /// <summary>Writes the state of one whose VM is paused.</summary>
    /// <param name="optee">The mediator.</param>
    /// <param name="target">Where it is written.</param>
    /// <param name="dropsSessions">Whether sessions that cannot move are dropped.</param>
    /// <returns>A task.</returns>
    /// <exception cref="OpTeeStateException">Something cannot move; the message says what.</exception>
    public static async Task SaveAsync(OpTeeGuest optee, Stream target, bool dropsSessions)
    {
        try
        {
            await target.WriteAsync(await optee.SaveAsync(StateOptions with { DropsWhatCannotMove = dropsSessions }));
        }
        catch (OpTeeStateException refusal)
        {
            throw new OpTeeStateException(
                refusal.Message.Replace(LibraryOption, CommandLineOption, StringComparison.Ordinal), refusal);
        }
    }

    private static byte[] Read(Stream state)
    {
        using MemoryStream content = new();
        byte[] part = new byte[64 << 10];
        int length;
        while ((length = state.Read(part)) > 0)
        {
            content.Write(part, 0, length);
            if (content.Length > LargestState)
            {
                throw new InvalidDataException($"The saved state of the TEE has more than {LargestState} bytes.");
            }
        }

        return content.ToArray();
    }
}
