namespace OpTeeMediator.State;

/// <summary>How the state of a VM's OP-TEE is saved and restored.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record OpTeeStateOptions
{
    /// <summary>The length of <see cref="Key"/>, in bytes.</summary>
    public const int KeyLength = 32;

    /// <summary>The key with which the state is encrypted and authenticated (AES-256-GCM): <see cref="KeyLength"/>
    /// bytes, the same for saving and restoring. Default empty: the state is neither, and has a check sum only, which
    /// finds damage but no forgery.</summary>
    /// <remarks>With a key, a state that was written without one is refused. One key may serve 2³² states.</remarks>
    public ReadOnlyMemory<byte> Key { get; init; }

    /// <summary>Whether what cannot move is left behind as if its trusted application had died: its clients get
    /// TEE_ERROR_TARGET_DEAD, origin TEE, after the restore. By default saving is refused then, and says what it is.
    /// </summary>
    public bool DropsWhatCannotMove { get; init; }

    internal void Validate()
    {
        if (Key.Length is not (0 or KeyLength))
        {
            throw new ArgumentException(
                $"{nameof(OpTeeStateOptions)}.{nameof(Key)} has {Key.Length} bytes; it must have {KeyLength} or none.");
        }
    }
}
