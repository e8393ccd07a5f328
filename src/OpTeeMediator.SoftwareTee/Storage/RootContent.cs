namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The content of a VM's root record: the directories of its applications.</summary>
internal sealed class RootContent
{
    /// <summary>By application: its directory's record, and the bytes of its objects.</summary>
    public Dictionary<Guid, (RecordReference Directory, long Used)> Applications { get; } = [];

    /// <summary>The bytes of all objects.</summary>
    public long Used => Applications.Values.Sum(application => application.Used);

    public static RootContent Parse(byte[] bytes)
    {
        RootContent root = new();
        using BinaryReader reader = new(new MemoryStream(bytes));
        for (int left = reader.ReadInt32(); left > 0; left--)
        {
            root.Applications.Add(reader.ReadGuid(), (reader.ReadReference(), reader.ReadInt64()));
        }

        return root;
    }

    public byte[] ToBytes()
    {
        using MemoryStream stream = new();
        using BinaryWriter writer = new(stream);
        writer.Write(Applications.Count);
        foreach ((Guid application, (RecordReference directory, long used)) in Applications)
        {
            writer.WriteGuid(application);
            writer.WriteReference(directory);
            writer.Write(used);
        }

        return stream.ToArray();
    }
}
