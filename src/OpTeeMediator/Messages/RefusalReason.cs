namespace OpTeeMediator.Messages;

/// <summary>Why a guest's call or message is refused: the same words whether it is served here or forwarded.</summary>
internal static class RefusalReason
{
    public const string NoMessage = "no message can be at this address";
    public const string MessageOutsideRam = "the message is not in guest RAM";
    public const string MessageTooLong = "the message is longer than its page or buffer";
    public const string UnknownCall = "unknown yielding call";
    public const string UnknownCommand = "unknown message command";
    public const string UnknownResumeInformation = "no call waits for this resume information";
    public const string NoCallSlot = "all call slots are taken";
    public const string DriverEnded = "the driver that the call belongs to has ended";
    public const string UnknownCapability = "the driver has a capability that is not defined";
    public const string EarlierDriver = "what an earlier driver left is not freed yet";
    public const string NotAgreed = "the call was not agreed on when the driver started";
    public const string HasParameters = "the command has no parameters";
    public const string NotOneParameter = "the command has one parameter";
    public const string TooManyParameters = "an application has four parameters at the most";
    public const string MetaMissing = "the first two parameters do not name application and client";
    public const string MetaAttribute = "a parameter of the application is marked as one of the call (META)";
    public const string UnknownLogin = "unknown login";
    public const string UnknownType = "unknown type of parameter";
    public const string UnknownSession = "no such session is open";
    public const string UnknownCookie = "no shared memory has this cookie";
    public const string ApplicationNotAllowed = "the application is not among those this VM may reach";
    public const string OutsideBuffer = "a reference leaves its shared memory";
    public const string NotAPageList = "the parameter is no page list";
    public const string CookieTaken = "the cookie is taken, or reserved";
    public const string UnusableMemory = "not whole pages of guest RAM, or no list of them";
    public const string NotForwardable = "memory that is named in the message itself cannot be forwarded";
    public const string BeyondLimits = "beyond the VM's limits";
}
