namespace OpTeeMediator.Testing.Traces;

/// <summary>A message of a trace.</summary>
/// <param name="address">Its address; 0 where the trace does not have it.</param>
public sealed class TraceMessage(ulong address)
{
    public ulong Address => address;

    /// <summary>cmd, func, session, cancel_id, pad, ret, ret_origin, num_params.</summary>
    public uint[] Header { get; set; } = [];

    public List<GuestParameter> Parameters { get; } = [];

    /// <summary>The page list that a parameter names, or the first entry of it.</summary>
    public ulong[] Pages { get; set; } = [];

    public uint Command => Header[0];

    public uint Function => Header[1];

    public uint Session => Header[2];

    /// <summary>The message as the driver writes it.</summary>
    public GuestMessage Content => new(Command, [.. Parameters])
    {
        Function = Function,
        Session = Session,
        CancelId = Header[3],
        ReturnCode = Header[5],
        ReturnOrigin = Header[6],
    };

    public override string ToString() =>
        $"{string.Join(' ', Header.Select(field => $"{field:x}"))}: {string.Join(' ', Parameters)}";
}
