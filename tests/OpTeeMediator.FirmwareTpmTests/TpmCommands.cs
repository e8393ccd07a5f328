using System.Buffers.Binary;

namespace OpTeeMediator.FirmwareTpmTests;

/// <summary>Commands of TPM 2.0 as bytes (TCG, TPM 2.0 Library, part 3).</summary>
internal static class TpmCommands
{
    private const uint Owner = 0x4000_0001;
    private const uint Null = 0x4000_0007;
    private const uint FirstTransient = 0x8000_0000;
    private const uint FirstPolicy = 0x0300_0000;
    private const uint Counter = 0x0150_0016;
    private const uint Password = 0x4000_0009;

    // The size, a session of an empty password.
    private static byte[] Authorization => [0, 0, 0, 9, .. BigEndian(Password), 0, 0, 0, 0, 0];

    /// <summary>TPM2_Startup(TPM_SU_CLEAR).</summary>
    public static byte[] Startup { get; } = Command(0x8001, 0x144, [0, 0]);

    /// <summary>TPM2_GetRandom of 16 bytes.</summary>
    public static byte[] GetRandom { get; } = Command(0x8001, 0x17b, [0, 16]);

    /// <summary>TPM2_PCR_Read of PCR 16, SHA-256.</summary>
    public static byte[] ReadPcr { get; } = Command(0x8001, 0x17e, [0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 1]);

    /// <summary>TPM2_PCR_Extend of PCR 16 by 32 bytes of 0x55, SHA-256.</summary>
    public static byte[] ExtendPcr { get; } = Command(
        0x8002,
        0x182,
        [0, 0, 0, 16, .. Authorization, 0, 0, 0, 1, 0, 0x0b, .. Enumerable.Repeat((byte)0x55, 32)]);

    /// <summary>TPM2_CreatePrimary of an RSA key, which takes some milliseconds or seconds.</summary>
    public static byte[] CreateKey { get; } = Command(
        0x8002,
        0x131,
        [
            .. BigEndian(Owner), .. Authorization,
            0, 4, 0, 0, 0, 0, // no authorization value, no data
            0, 26, 0, 1, 0, 0x0b, 0, 3, 0, 0x72, 0, 0, // RSA, SHA-256, attributes, no policy
            0, 6, 0, 128, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, // AES-128-CFB, no scheme, 2048 bits, exponent
            0, 0, // a unique part of no bytes
            0, 0, 0, 0, 0, 0, // no outside data, no PCRs
        ]);

    /// <summary>TPM2_Create of sealed data under the key that <see cref="CreateKey"/> made first.</summary>
    public static byte[] SealUnderFirstKey { get; } = Command(
        0x8002,
        0x153,
        [
            .. BigEndian(FirstTransient), .. Authorization,
            0, 7, 0, 0, 0, 3, 1, 2, 3, // no authorization value, three bytes of data
            0, 14, 0, 8, 0, 0x0b, 0, 0, 0, 0x52, 0, 0, 0, 0x10, 0, 0, // a sealed object, SHA-256
            0, 0, 0, 0, 0, 0, // no outside data, no PCRs
        ]);

    /// <summary>TPM2_ReadPublic of the key that <see cref="CreateKey"/> made first.</summary>
    public static byte[] ReadFirstKey { get; } = Command(0x8001, 0x173, BigEndian(FirstTransient));

    /// <summary>TPM2_StartAuthSession of a policy session, SHA-256.</summary>
    public static byte[] StartPolicySession { get; } = Command(
        0x8001,
        0x176,
        [.. BigEndian(Null), .. BigEndian(Null), 0, 16, .. new byte[16], 0, 0, 1, 0, 0x10, 0, 0x0b]);

    /// <summary>TPM2_PolicyCommandCode in the first policy session.</summary>
    public static byte[] ChangePolicy { get; } = Command(0x8001, 0x16c, [.. BigEndian(FirstPolicy), 0, 0, 1, 0x57]);

    /// <summary>TPM2_PolicyGetDigest of the first policy session.</summary>
    public static byte[] ReadPolicy { get; } = Command(0x8001, 0x189, BigEndian(FirstPolicy));

    /// <summary>TPM2_NV_DefineSpace of a counter.</summary>
    public static byte[] DefineCounter { get; } = Command(
        0x8002,
        0x12a,
        [
            .. BigEndian(Owner), .. Authorization, 0, 0,
            0, 14, .. BigEndian(Counter), 0, 0x0b, 2, 6, 0, 0x16, 0, 0, 0, 8,
        ]);

    /// <summary>TPM2_NV_Increment of the counter.</summary>
    public static byte[] Increment { get; } =
        Command(0x8002, 0x134, [.. BigEndian(Owner), .. BigEndian(Counter), .. Authorization]);

    /// <summary>TPM2_NV_Read of the counter.</summary>
    public static byte[] ReadCounter { get; } =
        Command(0x8002, 0x14e, [.. BigEndian(Owner), .. BigEndian(Counter), .. Authorization, 0, 8, 0, 0]);

    /// <summary>The count in a response to <see cref="ReadCounter"/>.</summary>
    public static ulong CountOf(byte[] response) => BinaryPrimitives.ReadUInt64BigEndian(response.AsSpan(16));

    /// <summary>The digest in a response to <see cref="ReadPcr"/>.</summary>
    public static byte[] DigestOf(byte[] response) => response[^32..];

    private static byte[] Command(ushort tag, uint code, ReadOnlySpan<byte> body)
    {
        byte[] command = new byte[10 + body.Length];
        BinaryPrimitives.WriteUInt16BigEndian(command, tag);
        BinaryPrimitives.WriteUInt32BigEndian(command.AsSpan(2), (uint)command.Length);
        BinaryPrimitives.WriteUInt32BigEndian(command.AsSpan(6), code);
        body.CopyTo(command.AsSpan(10));
        return command;
    }

    private static byte[] BigEndian(uint value)
    {
        byte[] bytes = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }
}
