namespace OpTeeMediator.Backends;

/// <summary>What an operation of a TEE returned: a code and where it came from.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
public readonly record struct TeeResult
{
    // One word, so that it travels in a register: the code below, the origin above.
    private readonly ulong _bits;

    /// <summary>Creates a result.</summary>
    /// <param name="code">The return code.</param>
    /// <param name="origin">Its origin.</param>
    public TeeResult(TeeReturnCode code, TeeOrigin origin) => _bits = (ulong)origin << 32 | (uint)code;

    /// <summary>The return code.</summary>
    public TeeReturnCode Code
    {
        get => (TeeReturnCode)(uint)_bits;
        init => _bits = (_bits & ~(ulong)uint.MaxValue) | (uint)value;
    }

    /// <summary>Its origin.</summary>
    public TeeOrigin Origin
    {
        get => (TeeOrigin)(uint)(_bits >> 32);
        init => _bits = ((ulong)value << 32) | (uint)_bits;
    }

    /// <summary>Success, from the trusted application.</summary>
    public static TeeResult Success => new(TeeReturnCode.Success, TeeOrigin.TrustedApplication);

    /// <summary>A result that the trusted OS itself answers.</summary>
    /// <param name="code">The return code.</param>
    /// <returns>The result with origin <see cref="TeeOrigin.Tee"/>.</returns>
    public static TeeResult FromTee(TeeReturnCode code) => new(code, TeeOrigin.Tee);

    /// <summary>The TEE could not be reached, or failed: TEE_ERROR_COMMUNICATION, origin COMMS.</summary>
    public static TeeResult CommunicationFailure => new(TeeReturnCode.Communication, TeeOrigin.Communication);

    /// <summary>Whether the code is <see cref="TeeReturnCode.Success"/>.</summary>
    public bool IsSuccess => Code == TeeReturnCode.Success;
}
