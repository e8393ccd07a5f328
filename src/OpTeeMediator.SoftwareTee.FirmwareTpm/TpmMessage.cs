using System.Buffers.Binary;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>What this package knows of TPM 2.0's commands and responses: the header.</summary>
/// <remarks>
/// Tag (2 bytes), length with the header (4), command or response code (4), big-endian. Source: TCG, TPM 2.0 Library,
/// part 1, "Command/Response Structure"; the codes: part 2, "TPM_RC".
/// </remarks>
internal static class TpmMessage
{
    /// <summary>The length of the header.</summary>
    public const int HeaderLength = 10;

    /// <summary>The longest command and the longest response, of Linux's driver as of swtpm.</summary>
    public const int MaximumLength = 4096;

    /// <summary>TPM_RC_FAILURE: the TPM has failed, and works no more before the next reset.</summary>
    public const uint Failure = 0x101;

    /// <summary>TPM_RC_COMMAND_SIZE: the length in the header is not that of the command.</summary>
    public const uint CommandSize = 0x142;

    private const ushort NoSessions = 0x8001;

    /// <summary>The length that a header names.</summary>
    public static uint LengthOf(ReadOnlySpan<byte> message) => BinaryPrimitives.ReadUInt32BigEndian(message[2..]);

    /// <summary>A response that consists of a code.</summary>
    public static byte[] Response(uint code)
    {
        byte[] response = new byte[HeaderLength];
        BinaryPrimitives.WriteUInt16BigEndian(response, NoSessions);
        BinaryPrimitives.WriteUInt32BigEndian(response.AsSpan(2), HeaderLength);
        BinaryPrimitives.WriteUInt32BigEndian(response.AsSpan(6), code);
        return response;
    }
}
