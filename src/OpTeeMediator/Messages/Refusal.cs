using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Messages;

/// <summary>Why a yielding call is not begun, and what it is answered: in X0, or in its message.</summary>
/// <remarks>Made in advance, so that refusing costs no memory. <see langword="null"/> is no refusal.</remarks>
internal sealed class Refusal
{
    public static readonly Refusal NoMessage = OfCall(OpTeeSmc.ReturnBadAddress, RefusalReason.NoMessage);
    public static readonly Refusal MessageOutsideRam =
        OfCall(OpTeeSmc.ReturnBadAddress, RefusalReason.MessageOutsideRam);
    public static readonly Refusal MessageTooLong = OfCall(OpTeeSmc.ReturnBadAddress, RefusalReason.MessageTooLong);
    public static readonly Refusal UnknownCommand = OfCall(OpTeeSmc.ReturnBadCommand, RefusalReason.UnknownCommand);
    public static readonly Refusal UnknownResumeInformation =
        OfCall(OpTeeSmc.ReturnResume, RefusalReason.UnknownResumeInformation);
    public static readonly Refusal DriverEnded = OfCall(OpTeeSmc.ReturnUnknownFunction, RefusalReason.DriverEnded);
    public static readonly Refusal NotAgreed = OfCall(OpTeeSmc.ReturnBadCommand, RefusalReason.NotAgreed);

    /// <summary>The driver comes again when one of its calls ends.</summary>
    public static readonly Refusal NoCallSlot = OfCall(OpTeeSmc.ReturnThreadLimit, RefusalReason.NoCallSlot);

    /// <summary>The driver would wait for ever for the end of a call, as it has none.</summary>
    public static readonly Refusal NoCallSlotForDriver = OfCall(OpTeeSmc.ReturnNoMemory, RefusalReason.NoCallSlot);

    public static readonly Refusal HasParameters = BadParameters(RefusalReason.HasParameters);
    public static readonly Refusal NotOneParameter = BadParameters(RefusalReason.NotOneParameter);
    public static readonly Refusal TooManyParameters = BadParameters(RefusalReason.TooManyParameters);
    public static readonly Refusal MetaMissing = BadParameters(RefusalReason.MetaMissing);
    public static readonly Refusal MetaAttribute = BadParameters(RefusalReason.MetaAttribute);
    public static readonly Refusal UnknownLogin = BadParameters(RefusalReason.UnknownLogin);
    public static readonly Refusal UnknownType = BadParameters(RefusalReason.UnknownType);
    public static readonly Refusal UnknownSession = BadParameters(RefusalReason.UnknownSession);
    public static readonly Refusal UnknownCookie = BadParameters(RefusalReason.UnknownCookie);
    public static readonly Refusal NotAPageList = BadParameters(RefusalReason.NotAPageList);
    public static readonly Refusal NotForwardable = BadParameters(RefusalReason.NotForwardable);
    public static readonly Refusal OutsideBuffer = new(0, TeeReturnCode.Security, RefusalReason.OutsideBuffer);
    public static readonly Refusal BeyondLimits = new(0, TeeReturnCode.OutOfMemory, RefusalReason.BeyondLimits);

    public static readonly Refusal ApplicationNotAllowed =
        new(0, TeeReturnCode.ItemNotFound, RefusalReason.ApplicationNotAllowed, isLogged: true);

    public static readonly Refusal CookieTaken =
        new(0, TeeReturnCode.BadParameters, RefusalReason.CookieTaken, isLogged: true);

    private static readonly Refusal s_unusableMemory =
        new(0, TeeReturnCode.BadParameters, RefusalReason.UnusableMemory, isLogged: true);

    private static readonly Refusal s_sharingBeyondLimits =
        new(0, TeeReturnCode.OutOfMemory, RefusalReason.BeyondLimits, isLogged: true);

    private Refusal(uint answer, TeeReturnCode code, string reason, bool isLogged = false)
    {
        Answer = answer;
        Code = code;
        Reason = reason;
        IsLogged = isLogged;
    }

    /// <summary>X0; OPTEE_SMC_RETURN_OK, which is 0, if the answer is in the message.</summary>
    public uint Answer { get; }

    /// <summary>The return code in the message, if <see cref="Answer"/> is OPTEE_SMC_RETURN_OK.</summary>
    public TeeReturnCode Code { get; }

    /// <summary>For log and metrics.</summary>
    public string Reason { get; }

    /// <summary>Whether there is an entry in the log already, which says more.</summary>
    public bool IsLogged { get; }

    /// <summary>Memory that cannot be shared; logged already.</summary>
    public static Refusal OfMemory(TeeReturnCode code) =>
        code == TeeReturnCode.OutOfMemory ? s_sharingBeyondLimits : s_unusableMemory;

    // The answer is in X0, because there is no message or none that can be answered.
    private static Refusal OfCall(uint answer, string reason) => new(answer, TeeReturnCode.Success, reason);

    private static Refusal BadParameters(string reason) => new(0, TeeReturnCode.BadParameters, reason);
}
