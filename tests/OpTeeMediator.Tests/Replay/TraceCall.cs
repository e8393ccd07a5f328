namespace OpTeeMediator.Tests.Replay;

/// <summary>One SMC of the recorded driver.</summary>
internal sealed class TraceCall
{
    public required int Line { get; init; }

    public required string Name { get; init; }

    /// <summary>0 for yielding calls, whose identifier the trace does not repeat.</summary>
    public required uint FunctionId { get; init; }

    /// <summary>X1 to X7.</summary>
    public required ulong[] Arguments { get; init; }

    /// <summary>X0 to X3 of a fast call, X0 of a yielding one that ended; empty while it has not.</summary>
    public ulong[] Results { get; set; } = [];

    /// <summary>The message of a call that has one.</summary>
    public TraceMessage? Message { get; init; }

    /// <summary>What the guest has written into the RPC message before it came back.</summary>
    public TraceMessage? Answer { get; set; }

    /// <summary>What the recorded TEE asked of the guest; <see langword="null"/> if the call ended.</summary>
    public TraceRequest? Asked { get; set; }

    /// <summary>The first bytes of memory references, by parameter, as the recorded TEE saw them.</summary>
    public Dictionary<int, byte> FirstBytes { get; } = [];

    /// <summary>Whether the recorded TEE raised its interrupt behind this call.</summary>
    public bool Interrupts { get; set; }

    /// <summary>What a test program in the guest said of it: return code and origin.</summary>
    public (uint Code, uint Origin)? Seen { get; set; }

    public bool IsReturn => Name == "RETURN_FROM_RPC";
}
