namespace OpTeeMediator.Tests.Conformance;

/// <summary>Offsets of the first 32 bytes of a message (<c>struct optee_msg_arg</c>); the parameters follow.</summary>
internal static class MessageHeader
{
    public const ulong Size = 32;
    public const ulong CommandOffset = 0;
    public const ulong SessionOffset = 8;
    public const ulong PaddingOffset = 16;
    public const ulong ReturnOffset = 20;
    public const ulong ReturnOriginOffset = 24;
}
