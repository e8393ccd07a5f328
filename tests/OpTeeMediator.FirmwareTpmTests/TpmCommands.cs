using System.Buffers.Binary;

namespace OpTeeMediator.FirmwareTpmTests;

/// <summary>Commands of TPM 2.0 as bytes (TCG, TPM 2.0 Library, part 3).</summary>
internal static class TpmCommands
{
    private const uint Owner = 0x4000_0001;
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
