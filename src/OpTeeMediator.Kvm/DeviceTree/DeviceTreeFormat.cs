using System.Buffers.Binary;

namespace OpTeeMediator.Kvm.DeviceTree;

/// <summary>Constants of a flattened device tree; all numbers are big-endian.</summary>
/// <remarks>
/// <code>
/// header · memory reservations · structure: tokens of 32 bits · strings: the names of all properties
/// </code>
/// Source: Devicetree Specification, chapter 5, version 17 of the format.
/// </remarks>
internal static class DeviceTreeFormat
{
    internal const uint Magic = 0xd00d_feed;
    internal const uint Version = 17;
    internal const uint LastCompatibleVersion = 16;
    internal const uint BootCpu = 0;

    // Tokens of the structure.
    internal const uint BeginNode = 1;
    internal const uint EndNode = 2;
    internal const uint Property = 3;
    internal const uint Nop = 4;
    internal const uint End = 9;

    // The header has ten numbers; offsets of some of them.
    internal const int HeaderSize = 40;
    internal const int StructureOffset = 8;
    internal const int StringsOffset = 12;
    internal const int StringsSize = 32;
    internal const int StructureSize = 36;

    internal const int EmptyReservationsSize = 16;

    /// <summary>The number of bytes that are in use; the size in the header includes free space.</summary>
    internal static ulong UsedSize(ReadOnlySpan<byte> header)
    {
        ulong endOfStructure = (ulong)Field(header, StructureOffset) + Field(header, StructureSize);
        ulong endOfStrings = (ulong)Field(header, StringsOffset) + Field(header, StringsSize);
        return ulong.Max(endOfStructure, endOfStrings);
    }

    internal static uint Field(ReadOnlySpan<byte> header, int offset) =>
        BinaryPrimitives.ReadUInt32BigEndian(header[offset..]);
}
