using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Replay;

/// <summary>One SMC of the recorded driver.</summary>
internal sealed class TraceCall
{
    public required int Line { get; init; }

    public required string Name { get; init; }

    /// <summary>0 for the calls that carry a message, whose identifier the trace does not repeat.</summary>
    public required uint FunctionId { get; init; }

    /// <summary>X1 to X7.</summary>
    public required ulong[] Arguments { get; init; }

    /// <summary>X0 to X3 of a fast call, X0 of one with a message; empty while it is not known.</summary>
    public ulong[] Results { get; set; } = [];

    /// <summary>Where the message lies, for calls that have one.</summary>
    public ulong MessageAddress { get; init; }

    /// <summary>The header fields of the message by their names in the trace.</summary>
    public Dictionary<string, uint> Header { get; } = [];

    public List<GuestParameter> Parameters { get; } = [];

    /// <summary>The page list of a REGISTER_SHM.</summary>
    public ulong[] Pages { get; set; } = [];

    /// <summary>The first bytes of memory references, by parameter, as the recorded TEE saw them.</summary>
    public Dictionary<int, byte> FirstBytes { get; } = [];

    /// <summary>Whether the recorded TEE needed the guest to do it.</summary>
    public bool MakesRpc { get; set; }

    /// <summary>What a test program in the guest said of it: return code and origin.</summary>
    public (uint Code, uint Origin)? Seen { get; set; }

    public bool HasMessage => MessageAddress != 0;

    public uint Command => Header["cmd"];
}
