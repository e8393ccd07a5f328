namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The parts that records consist of. A record is parsed only after it was authenticated.</summary>
internal static class RecordSerialization
{
    public static Guid ReadGuid(this BinaryReader reader) => new(reader.ReadBytes(16));

    public static RecordReference ReadReference(this BinaryReader reader) =>
        new(reader.ReadGuid(), reader.ReadInt64());

    public static void WriteGuid(this BinaryWriter writer, Guid value) => writer.Write(value.ToByteArray());

    public static void WriteReference(this BinaryWriter writer, RecordReference value)
    {
        writer.WriteGuid(value.Stamp);
        writer.Write(value.Version);
    }

    public static List<DirectoryEntry> ParseDirectory(byte[] bytes)
    {
        using BinaryReader reader = new(new MemoryStream(bytes));
        List<DirectoryEntry> entries = [];
        for (int left = reader.ReadInt32(); left > 0; left--)
        {
            byte[] id = reader.ReadBytes(reader.ReadByte());
            entries.Add(new DirectoryEntry(id, reader.ReadGuid(), reader.ReadReference(), reader.ReadInt64()));
        }

        return entries;
    }

    public static byte[] ToBytes(List<DirectoryEntry> entries)
    {
        using MemoryStream stream = new();
        using BinaryWriter writer = new(stream);
        writer.Write(entries.Count);
        foreach (DirectoryEntry entry in entries)
        {
            writer.Write((byte)entry.Id.Length);
            writer.Write(entry.Id);
            writer.WriteGuid(entry.Number);
            writer.WriteReference(entry.Head);
            writer.Write(entry.Size);
        }

        return stream.ToArray();
    }

    public static List<RecordReference> ParseHead(byte[] bytes)
    {
        using BinaryReader reader = new(new MemoryStream(bytes));
        List<RecordReference> chunks = [];
        for (int left = reader.ReadInt32(); left > 0; left--)
        {
            chunks.Add(reader.ReadReference());
        }

        return chunks;
    }

    public static byte[] ToBytes(List<RecordReference> chunks)
    {
        using MemoryStream stream = new();
        using BinaryWriter writer = new(stream);
        writer.Write(chunks.Count);
        foreach (RecordReference chunk in chunks)
        {
            writer.WriteReference(chunk);
        }

        return stream.ToArray();
    }
}
