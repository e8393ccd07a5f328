using System.Runtime.InteropServices;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The authenticated tree of a VM within one transaction: root, directories, heads, chunks.</summary>
/// <remarks>
/// Each record holds the references of its children, so that an older, swapped or missing record never fits its
/// parent. Not thread-safe.
/// </remarks>
/// <param name="transaction">The records.</param>
/// <param name="keys">The VM's keys.</param>
/// <param name="root">The VM's root.</param>
/// <param name="version">The version of records that this transaction writes.</param>
internal sealed class StorageTransaction(
    ITeeStoreTransaction transaction, StorageKeys keys, RootContent root, long version)
{
    /// <summary>The size of a chunk, in bytes: what a small write encrypts and writes.</summary>
    public const int ChunkSize = 16 << 10;

    private const int HeadPart = 0;

    /// <summary>The VM's root, with the changes of this transaction.</summary>
    public RootContent Root => root;

    /// <summary>Reads an application's directory.</summary>
    public List<DirectoryEntry> ReadDirectory(Guid application) =>
        root.Applications.TryGetValue(application, out (RecordReference Directory, long Used) known)
            ? RecordSerialization.ParseDirectory(Read(DirectoryKey(application), known.Directory))
            : [];

    /// <summary>Writes an application's directory.</summary>
    public void WriteDirectory(Guid application, List<DirectoryEntry> entries)
    {
        ref (RecordReference Directory, long Used) known =
            ref CollectionsMarshal.GetValueRefOrAddDefault(root.Applications, application, out _);
        RecordReference reference =
            Write(DirectoryKey(application), known.Directory, RecordSerialization.ToBytes(entries));
        known = (reference, entries.Sum(entry => entry.Size + DirectoryEntry.Overhead));
    }

    /// <summary>Adds an object's records.</summary>
    public DirectoryEntry CreateObject(Guid application, byte[] id, ReadOnlySpan<byte> data)
    {
        Guid number = NewStamp();
        List<RecordReference> chunks = [];
        for (int offset = 0; offset < data.Length; offset += ChunkSize)
        {
            ReadOnlySpan<byte> chunk = data.Slice(offset, Math.Min(ChunkSize, data.Length - offset));
            chunks.Add(Write(ChunkKey(application, number, chunks.Count), default, chunk));
        }

        TeeStoreKey head = new(application, number, HeadPart);
        return new DirectoryEntry(id, number, Write(head, default, RecordSerialization.ToBytes(chunks)), data.Length);
    }

    /// <summary>Deletes an object's records, also if some are damaged.</summary>
    public void DeleteObject(Guid application, DirectoryEntry entry) =>
        transaction.DeleteObject(application, entry.Number);

    /// <summary>Reads from an object; the range lies within it.</summary>
    public void ReadData(Guid application, DirectoryEntry entry, long position, Span<byte> destination)
    {
        List<RecordReference> chunks = ReadHead(application, entry);
        while (destination.Length > 0)
        {
            (int index, int offset) = ((int)(position / ChunkSize), (int)(position % ChunkSize));
            int length = Math.Min(ChunkSize - offset, destination.Length);
            byte[] chunk = ReadChunk(application, entry.Number, index, chunks);
            Span<byte> stored = offset < chunk.Length
                ? chunk.AsSpan(offset, Math.Min(length, chunk.Length - offset))
                : default;
            stored.CopyTo(destination);
            destination[stored.Length..length].Clear();
            destination = destination[length..];
            position += length;
        }
    }

    /// <summary>Writes to an object, which becomes longer if need be.</summary>
    /// <returns>The object's entry, to be put into the directory.</returns>
    public DirectoryEntry WriteData(Guid application, DirectoryEntry entry, long position, ReadOnlySpan<byte> data)
    {
        List<RecordReference> chunks = ReadHead(application, entry);
        long size = Math.Max(entry.Size, position + data.Length);
        CollectionsMarshal.SetCount(chunks, CountChunks(size));
        while (data.Length > 0)
        {
            (int index, int offset) = ((int)(position / ChunkSize), (int)(position % ChunkSize));
            int length = Math.Min(ChunkSize - offset, data.Length);
            byte[] chunk = length == ChunkSize ? [] : ReadChunk(application, entry.Number, index, chunks);
            if (chunk.Length < offset + length)
            {
                Array.Resize(ref chunk, offset + length);
            }

            data[..length].CopyTo(chunk.AsSpan(offset));
            chunks[index] = Write(ChunkKey(application, entry.Number, index), chunks[index], chunk);
            data = data[length..];
            position += length;
        }

        return WriteHead(application, entry, chunks, size);
    }

    /// <summary>Makes an object longer, with zeros, or shorter.</summary>
    /// <returns>The object's entry, to be put into the directory.</returns>
    public DirectoryEntry Resize(Guid application, DirectoryEntry entry, long size)
    {
        List<RecordReference> chunks = ReadHead(application, entry);
        int count = CountChunks(size);
        for (int index = count; index < chunks.Count; index++)
        {
            if (chunks[index].Exists
                && !transaction.TryDelete(ChunkKey(application, entry.Number, index), chunks[index].Version))
            {
                throw new CorruptStorageException($"chunk {index} of an object of {application} is missing or older");
            }
        }

        CollectionsMarshal.SetCount(chunks, count);
        int tail = (int)(size % ChunkSize);
        if (size < entry.Size && tail != 0 && chunks[^1].Exists)
        {
            // What is cut off must not come back when the object grows again.
            byte[] chunk = ReadChunk(application, entry.Number, count - 1, chunks);
            if (chunk.Length > tail)
            {
                chunks[^1] = Write(
                    ChunkKey(application, entry.Number, count - 1), chunks[^1], chunk.AsSpan(0, tail));
            }
        }

        return WriteHead(application, entry, chunks, size);
    }

    /// <summary>A random number that names a record or an encryption, never used before.</summary>
    public static Guid NewStamp()
    {
        Span<byte> bytes = stackalloc byte[16];
        System.Security.Cryptography.RandomNumberGenerator.Fill(bytes);
        return new Guid(bytes);
    }

    private static int CountChunks(long size) => (int)((size + ChunkSize - 1) / ChunkSize);

    private static TeeStoreKey DirectoryKey(Guid application) => new(application, Guid.Empty, 0);

    private static TeeStoreKey ChunkKey(Guid application, Guid number, int index) =>
        new(application, number, index + HeadPart + 1);

    private List<RecordReference> ReadHead(Guid application, DirectoryEntry entry) =>
        RecordSerialization.ParseHead(Read(new TeeStoreKey(application, entry.Number, HeadPart), entry.Head));

    private DirectoryEntry WriteHead(
        Guid application, DirectoryEntry entry, List<RecordReference> chunks, long size)
    {
        TeeStoreKey key = new(application, entry.Number, HeadPart);
        return entry with { Head = Write(key, entry.Head, RecordSerialization.ToBytes(chunks)), Size = size };
    }

    // A chunk that was never written has zeros, and no record.
    private byte[] ReadChunk(Guid application, Guid number, int index, List<RecordReference> chunks) =>
        chunks[index].Exists ? Read(ChunkKey(application, number, index), chunks[index]) : [];

    private byte[] Read(TeeStoreKey key, RecordReference reference)
    {
        TeeStoreRecord? record = transaction.Read(key, reference.Version);
        return record is null
            ? throw new CorruptStorageException($"the record {key} is missing")
            : record.Value.Version != reference.Version
                ? throw new CorruptStorageException(
                    $"the record {key} has version {record.Value.Version}; expected {reference.Version}")
                : keys.Decrypt(key, reference, record.Value.Data.Span);
    }

    private RecordReference Write(TeeStoreKey key, RecordReference old, ReadOnlySpan<byte> plain)
    {
        RecordReference reference = new(NewStamp(), version);
        TeeStoreRecord record = new(version, keys.Encrypt(key, reference, plain));
        bool isWritten = old.Exists
            ? transaction.TryReplace(key, old.Version, record)
            : transaction.TryInsert(key, record);
        return isWritten
            ? reference
            : throw new CorruptStorageException($"the record {key} has not version {old.Version}");
    }
}
