namespace OpTeeMediator.Protocol;

/// <summary>The UID of OP-TEE's interface, 384fb3e0-e7f8-11e3-af63-0002a5d5c51b, as four registers carry it.</summary>
internal static class OpTeeUid
{
    public const ulong First = 0x384f_b3e0;
    public const ulong Second = 0xe7f8_11e3;
    public const ulong Third = 0xaf63_0002;
    public const ulong Fourth = 0xa5d5_c51b;
}
