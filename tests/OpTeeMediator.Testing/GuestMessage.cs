namespace OpTeeMediator.Testing;

/// <summary>A message as a guest's driver writes it and reads it back.</summary>
public sealed record GuestMessage(uint Command, params GuestParameter[] Parameters)
{
    public uint Function { get; init; }

    public uint Session { get; init; }

    public uint CancelId { get; init; }

    public uint ReturnCode { get; init; } = Untouched;

    public uint ReturnOrigin { get; init; } = Untouched;

    /// <summary>What the driver leaves in the fields that the TEE fills in, so that a missing answer shows.</summary>
    public const uint Untouched = 0x5a5a_5a5a;
}
