namespace OpTeeMediator.Vmm;

/// <summary>What a guest holds at a moment.</summary>
/// <param name="CallsInFlight">Yielding calls that have begun and not ended, an earlier driver's too.</param>
/// <param name="Sessions">Sessions of the present driver, those being opened or closed among them;
/// <see langword="null"/> if only OP-TEE itself knows (a companion).</param>
/// <param name="Buffers">Shared buffers, those of an earlier driver that are not freed yet and those of
/// single calls among them; <see langword="null"/> if only OP-TEE itself knows.</param>
/// <param name="SharedPages">The pages of 4 KiB of these buffers; <see langword="null"/> in the same case.</param>
/// <remarks>Immutable, hence thread-safe; the numbers are read one after the other.</remarks>
public readonly record struct OpTeeGuestStatus(int CallsInFlight, int? Sessions, int? Buffers, int? SharedPages)
{
    /// <summary>The status of a guest that holds nothing.</summary>
    public static OpTeeGuestStatus Nothing => new(0, 0, 0, 0);
}
