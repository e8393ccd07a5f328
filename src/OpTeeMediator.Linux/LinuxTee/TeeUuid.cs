using System.Runtime.CompilerServices;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>A UUID as the driver has it: 16 octets in the order in which it is written.</summary>
[InlineArray(Size)]
internal struct TeeUuid
{
    /// <summary>TEE_IOCTL_UUID_LEN.</summary>
    internal const int Size = 16;

    private byte _element0;

    internal static TeeUuid From(in Guid uuid)
    {
        TeeUuid octets = default;
        _ = uuid.TryWriteBytes(octets, bigEndian: true, out _);
        return octets;
    }
}
