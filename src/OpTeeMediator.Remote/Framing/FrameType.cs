namespace OpTeeMediator.Remote.Framing;

/// <summary>The messages of docs/remote-protocol.md; the server's begin at 64.</summary>
internal enum FrameType : ushort
{
    None = 0,
    Hello = 1,
    OpenSession = 2,
    InvokeCommand = 3,
    CloseSession = 4,
    RegisterMemory = 5,
    UnregisterMemory = 6,
    AddFile = 7,
    Cancel = 8,
    Answer = 9,
    Reset = 10,
    Destroy = 11,
    CanSave = 12,
    Save = 13,
    Restore = 14,
    Welcome = 64,
    Refused = 65,
    Result = 66,
    GuestCall = 67,
    Allocate = 68,
    Free = 69,
    BeginWait = 70,
    EndWait = 71,
    State = 72,
    NextState = 73,
    Restored = 74,
    StateRefused = 75,
}
