using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The device tree that OP-TEE is started with: the guest's memory, and a seed.</summary>
/// <remarks>
/// <code>
/// / { memory@… { reg = the guest's RAM; };  secure-chosen { kaslr-seed = where OP-TEE puts itself in its virtual addresses; }; }
/// </code>
/// From it OP-TEE learns which addresses a guest may share; it then adds what it has taken of them, for <see cref="ReservedMemoryReader"/>.
/// Source: Devicetree Specification, chapter 5, version 17 of the format.
/// </remarks>
internal static class MemoryDeviceTree
{
    internal const uint Magic = 0xd00d_feed;
    internal const uint BeginNode = 1;
    internal const uint EndNode = 2;
    internal const uint Property = 3;
    internal const uint Nop = 4;
    internal const uint End = 9;

    /// <summary>The size of the header: ten numbers.</summary>
    internal const int HeaderSize = 40;

    // Fields of the header.
    internal const int StructureOffset = 8;
    internal const int NamesOffset = 12;
    internal const int NamesSize = 32;
    internal const int StructureSize = 36;

    private const int ReservationsSize = 16;
    private const uint Version = 17;
    private const uint LastCompatibleVersion = 16;
    private const int TwoCells = 2;

    /// <summary>Writes it.</summary>
    /// <param name="memory">The guest's RAM.</param>
    /// <param name="seed">
    /// The seed, 8 bytes, or nothing: then OP-TEE stays where it was linked. A <c>secure-chosen</c> without <c>stdout-path</c> also tells it to be silent.
    /// </param>
    internal static byte[] Write(ReadOnlySpan<GuestRange> memory, ReadOnlySpan<byte> seed)
    {
        ArrayBufferWriter<byte> structure = new();
        ArrayBufferWriter<byte> names = new();
        Begin(structure, "");
        Add(structure, names, "compatible", "linux,dummy-virt\0"u8);
        Add(structure, names, "#address-cells", Number(TwoCells));
        Add(structure, names, "#size-cells", Number(TwoCells));
        foreach (GuestRange range in memory)
        {
            Begin(structure, string.Create(CultureInfo.InvariantCulture, $"memory@{range.Start.Value:x}"));
            Add(structure, names, "device_type", "memory\0"u8);
            byte[] region = new byte[2 * sizeof(ulong)];
            BinaryPrimitives.WriteUInt64BigEndian(region, range.Start.Value);
            BinaryPrimitives.WriteUInt64BigEndian(region.AsSpan(sizeof(ulong)), range.Length);
            Add(structure, names, "reg", region);
            structure.Write(Number(EndNode));
        }

        if (!seed.IsEmpty)
        {
            Begin(structure, "secure-chosen");
            Add(structure, names, "kaslr-seed", seed);
            structure.Write(Number(EndNode));
        }

        structure.Write(Number(EndNode));
        structure.Write(Number(End));

        int namesOffset = HeaderSize + ReservationsSize + structure.WrittenCount;
        ArrayBufferWriter<byte> tree = new(namesOffset + names.WrittenCount);
        ReadOnlySpan<uint> header =
        [
            Magic, (uint)(namesOffset + names.WrittenCount), HeaderSize + ReservationsSize, (uint)namesOffset, HeaderSize, Version, LastCompatibleVersion,
            0, (uint)names.WrittenCount, (uint)structure.WrittenCount,
        ];
        foreach (uint field in header)
        {
            tree.Write(Number(field));
        }

        tree.Write(new byte[ReservationsSize]);
        tree.Write(structure.WrittenSpan);
        tree.Write(names.WrittenSpan);
        return tree.WrittenSpan.ToArray();
    }

    /// <summary>How many bytes of a tree are used, by its header: its size may say more.</summary>
    internal static ulong UsedSize(ReadOnlySpan<byte> header)
    {
        ulong endOfStructure = (ulong)Field(header, StructureOffset) + Field(header, StructureSize);
        ulong endOfNames = (ulong)Field(header, NamesOffset) + Field(header, NamesSize);
        return ulong.Max(endOfStructure, endOfNames);
    }

    /// <summary>A number of the header.</summary>
    internal static uint Field(ReadOnlySpan<byte> header, int offset) => BinaryPrimitives.ReadUInt32BigEndian(header[offset..]);

    private static void Begin(ArrayBufferWriter<byte> structure, string name)
    {
        structure.Write(Number(BeginNode));
        structure.Write(Encoding.ASCII.GetBytes(name + '\0'));
        Pad(structure);
    }

    private static void Add(ArrayBufferWriter<byte> structure, ArrayBufferWriter<byte> names, string name, ReadOnlySpan<byte> value)
    {
        structure.Write(Number(Property));
        structure.Write(Number((uint)value.Length));
        structure.Write(Number((uint)names.WrittenCount));
        structure.Write(value);
        Pad(structure);
        names.Write(Encoding.ASCII.GetBytes(name + '\0'));
    }

    private static void Pad(ArrayBufferWriter<byte> structure) => structure.Write(new byte[-structure.WrittenCount & (sizeof(uint) - 1)]);

    private static byte[] Number(uint value)
    {
        byte[] bytes = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }
}
