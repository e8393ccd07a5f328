using OpTeeMediator.Backends;

namespace OpTeeMediator.Messages;

/// <summary>Why a yielding call is not begun, and what it is answered: in X0, or in its message.</summary>
/// <remarks>The default is no refusal.</remarks>
/// <param name="Answer">X0; OPTEE_SMC_RETURN_OK, which is 0, if the answer is in the message.</param>
/// <param name="Code">The return code in the message, if <paramref name="Answer"/> is OPTEE_SMC_RETURN_OK.</param>
/// <param name="Reason">For the log; <see langword="null"/> if it is logged already.</param>
internal readonly record struct Refusal(uint Answer, TeeReturnCode Code, string? Reason)
{
    /// <summary>Whether the call may begin.</summary>
    public bool IsNone => (Answer | (uint)Code) == 0;

    /// <summary>The answer is in X0, because there is no message or none that can be answered.</summary>
    public static Refusal OfCall(uint answer, string reason) => new(answer, TeeReturnCode.Success, reason);

    /// <summary>The answer is in the message.</summary>
    public static Refusal OfMessage(TeeReturnCode code, string? reason) => new(0, code, reason);

    /// <summary>TEE_ERROR_BAD_PARAMETERS in the message.</summary>
    public static Refusal BadParameters(string reason) => OfMessage(TeeReturnCode.BadParameters, reason);
}
