namespace OpTeeMediator.Tests.Forwarding;

/// <summary>One SMC of the recorded guest: what it was, what OP-TEE was given, what OP-TEE answered, what the guest got.</summary>
internal sealed class RecordedExchange
{
    public int Line { get; init; }

    public string Name { get; init; } = "";

    /// <summary>X0 to X7 of the SMC that was made for it, and X0 to X7 after it.</summary>
    public ulong[] Made { get; set; } = [];

    public ulong[] Answered { get; set; } = [];

    /// <summary>Where the guest's message lay.</summary>
    public ulong MessageAddress { get; init; }

    /// <summary>What the guest had written: a message, or its answer to an RPC message.</summary>
    public RecordedMessage? Guest { get; set; }

    /// <summary>The first entry of the page list that this names.</summary>
    public ulong FirstPage { get; set; }

    /// <summary>What the mediator gave OP-TEE.</summary>
    public RecordedMessage? Shadow { get; set; }

    /// <summary>What OP-TEE had written: the message, or an RPC message.</summary>
    public RecordedMessage? Result { get; set; }

    public bool IsRpc { get; set; }

    /// <summary>X1 to X5 of a resume.</summary>
    public ulong[] Arguments { get; init; } = [];

    /// <summary>X0 to X3 that the guest got; of an RPC X0 to X2.</summary>
    public ulong[] Returned { get; set; } = [];
}
