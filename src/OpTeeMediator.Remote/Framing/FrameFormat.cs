namespace OpTeeMediator.Remote.Framing;

/// <summary>The constants of docs/remote-protocol.md.</summary>
internal static class FrameFormat
{
    /// <summary>"OPTR", which begins the body of HELLO and WELCOME.</summary>
    public const uint Magic = 0x5254_504f;

    /// <summary>The one version there is.</summary>
    public const ushort Version = 1;

    /// <summary>The longest frame before the server has said its limit, in bytes.</summary>
    public const int HandshakeFrame = 64 * 1024;

    /// <summary>The longest name of a VM, in bytes of UTF-8.</summary>
    public const int NameLength = 255;

    /// <summary>The most applications that HELLO can name.</summary>
    public const int Applications = 1024;

    /// <summary>The most devices that WELCOME can name.</summary>
    public const int Devices = 1024;

    /// <summary>The longest message of REFUSED, in bytes of UTF-8.</summary>
    public const int TextLength = 4096;

    /// <summary>The most files of one VM.</summary>
    public const int Files = 256;

    /// <summary>The most buffers that one operation may hold that the guest has allocated for it.</summary>
    public const int Allocations = 64;

    /// <summary>The most pieces of a buffer that the guest has allocated for an operation.</summary>
    public const int RangesPerAllocation = 4096;

    /// <summary>The most bytes of a saved state in one frame, which every limit of frames permits.</summary>
    public const int StatePiece = 16 * 1024;

    /// <summary>One piece of a file, in bytes.</summary>
    public const int RangeSize = 24;

    /// <summary>A parameter's memory: a NULL reference, or no memory.</summary>
    public const uint NoMemory = uint.MaxValue;

    /// <summary>A parameter's memory is described behind the parameters, for this operation only.</summary>
    public const uint TemporaryMemory = uint.MaxValue - 1;

    /// <summary>The client has cancelled the operation.</summary>
    public const uint CancelFlag = 1;

    /// <summary>The VM is reset or destroyed; implies <see cref="CancelFlag"/>.</summary>
    public const uint TerminateFlag = 2;

    /// <summary>No applications are named: every one is allowed.</summary>
    public const uint EveryApplication = uint.MaxValue;

    /// <summary>WELCOME: the TEE has a device enumeration.</summary>
    public const uint DevicesFlag = 1;

    /// <summary>WELCOME: the TEE has a revision.</summary>
    public const uint RevisionFlag = 2;

    /// <summary>WELCOME: the sessions of the TEE can be saved and restored.</summary>
    public const uint SavingFlag = 4;

    /// <summary>WELCOME: the server knows COMMIT and ABANDON.</summary>
    public const uint OutcomeFlag = 8;
}
