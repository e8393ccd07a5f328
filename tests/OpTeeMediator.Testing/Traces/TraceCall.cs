namespace OpTeeMediator.Testing.Traces;

/// <summary>One SMC of the recorded driver, and what followed from it until it returned.</summary>
public sealed class TraceCall
{
    /// <summary>The number of its line in the file.</summary>
    public required int Line { get; init; }

    public required string Name { get; init; }

    /// <summary>0 where the trace does not have it.</summary>
    public required uint FunctionId { get; init; }

    /// <summary>X1 to X7, or X1 to X5; empty where the trace does not have them.</summary>
    public required ulong[] Arguments { get; init; }

    /// <summary>X0 to X3 of a fast call, X0 of a yielding one that ended; otherwise empty.</summary>
    public ulong[] Results { get; set; } = [];

    /// <summary>The message of a call that has one.</summary>
    public TraceMessage? Message { get; init; }

    /// <summary>What the guest has written into the RPC message before it resumed the call.</summary>
    public TraceMessage? Answer { get; set; }

    /// <summary>What OP-TEE requested of the guest; <see langword="null"/> if the call ended.</summary>
    public TraceRequest? Asked { get; set; }

    /// <summary>The forwarder's SMC; <see langword="null"/> in a trace without a forwarder.</summary>
    public SmcExchange? Exchange { get; set; }

    /// <summary>The message that the forwarder gave to OP-TEE instead of the guest's.</summary>
    public TraceMessage? Shadow { get; set; }

    /// <summary>The message as OP-TEE left it at the end of the call.</summary>
    public TraceMessage? Done { get; set; }

    /// <summary>The first bytes of memory references, by parameter, as the recorded TEE saw them.</summary>
    public Dictionary<int, byte> FirstBytes { get; } = [];

    /// <summary>Whether the recorded TEE raised its interrupt after this call.</summary>
    public bool Interrupts { get; set; }

    /// <summary>Return code and origin, as printed by a test program in the guest.</summary>
    public (uint Code, uint Origin)? Seen { get; set; }

    public bool IsReturn => Name == "RETURN_FROM_RPC";
}
