using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>The content of stored records: a root, a directory, an object's head.</summary>
/// <remarks>An input: which of them (1 byte), then the content. A record is authenticated before it is read, so that a
/// wrong one is the fault of an earlier version of the library; it is read, or an exception that the storage catches
/// says that it ends too early.</remarks>
internal sealed class StoredRecordTarget : FuzzTarget
{
    private static readonly Guid Id = new("6c1cf9a0-4a43-4a5e-9b8c-0f2e7f8a3d11");

    public override IEnumerable<byte[]> Seeds
    {
        get
        {
            RecordReference reference = new(Id, 7);
            RootContent root = new();
            root.Applications.Add(Id, (reference, 4096));
            root.Applications.Add(Guid.Empty, (default, 0));
            yield return [0, .. root.ToBytes()];
            yield return [0, .. new RootContent().ToBytes()];
            yield return
            [
                1, .. RecordSerialization.ToBytes(
                    [new DirectoryEntry([1, 2, 3], Id, reference, 5), new DirectoryEntry([], Id, default, 0)]),
            ];
            yield return [2, .. RecordSerialization.ToBytes([reference, default, reference])];
        }
    }

    public override void Execute(ReadOnlySpan<byte> input)
    {
        if (input.IsEmpty)
        {
            return;
        }

        byte[] content = input[1..].ToArray();
        try
        {
            byte[] again = (input[0] % 3) switch
            {
                0 => RootContent.Parse(content).ToBytes(),
                1 => RecordSerialization.ToBytes(RecordSerialization.ParseDirectory(content)),
                _ => RecordSerialization.ToBytes(RecordSerialization.ParseHead(content)),
            };

            // A negative count is none.
            Require(content.AsSpan().StartsWith(again) || content[3] >= 0x80, "what is read is what was written");
        }
        catch (Exception exception) when (exception is EndOfStreamException or ArgumentException)
        {
            // Too short, or an application twice.
        }
    }
}
