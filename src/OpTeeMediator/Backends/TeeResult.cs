namespace OpTeeMediator.Backends;

/// <summary>What an operation of a TEE returned: a code and where it came from.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
/// <param name="Code">The return code.</param>
/// <param name="Origin">Its origin.</param>
public readonly record struct TeeResult(TeeReturnCode Code, TeeOrigin Origin)
{
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
