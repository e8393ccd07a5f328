using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Replay;

/// <summary>A message of the recording: a call's, what the TEE asks the guest, or what the guest answers.</summary>
internal sealed class TraceMessage(ulong address)
{
    /// <summary>Where it lies; 0 for the guest's answers, which lie where they were asked for.</summary>
    public ulong Address => address;

    /// <summary>The header's fields by their names in the trace.</summary>
    public Dictionary<string, uint> Header { get; } = [];

    public List<GuestParameter> Parameters { get; } = [];

    /// <summary>The page list that the first parameter names.</summary>
    public ulong[] Pages { get; set; } = [];

    public uint Command => Header["cmd"];

    /// <summary>The message as the driver writes it.</summary>
    public GuestMessage Content => new(Command, [.. Parameters])
    {
        Function = Header["func"],
        Session = Header["session"],
        CancelId = Header["cancel_id"],
        ReturnCode = Header["ret"],
        ReturnOrigin = Header["origin"],
    };
}
