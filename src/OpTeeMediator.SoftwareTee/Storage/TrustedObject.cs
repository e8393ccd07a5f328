using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>A handle on an object of <see cref="TrustedStorage"/>, with a position of its own.</summary>
/// <remarks>
/// Disposing of it closes the handle (TEE_CloseObject). The codes that every method of <see cref="TrustedStorage"/> may
/// return apply here too; a closed handle returns TEE_ERROR_BAD_STATE. Not thread-safe.
/// </remarks>
public sealed class TrustedObject : IDisposable
{
    internal TrustedObject(TrustedStorage owner, byte[] id, TrustedObjectFlags flags)
    {
        Owner = owner;
        Id = id;
        Flags = flags;
    }

    /// <summary>The flags that it was opened with.</summary>
    public TrustedObjectFlags Flags { get; }

    /// <summary>The position of the next read or write, in bytes.</summary>
    public long Position { get; private set; }

    /// <summary>Whose handle it is.</summary>
    internal TrustedStorage Owner { get; }

    /// <summary>The object's id.</summary>
    internal byte[] Id { get; private set; }

    /// <summary>Asks for the size of the object's data (TEE_GetObjectInfo1).</summary>
    /// <param name="size">The size, in bytes.</param>
    /// <returns>Success or a failure of the storage.</returns>
    public TeeReturnCode GetSize(out long size)
    {
        long found = 0;
        TeeReturnCode code = Run(TrustedObjectFlags.None, writes: false, (_, _, entry) =>
        {
            found = entry.Size;
            return TeeReturnCode.Success;
        });
        size = found;
        return code;
    }

    /// <summary>Reads from the position, which moves on (TEE_ReadObjectData).</summary>
    /// <param name="destination">Where to.</param>
    /// <param name="count">How many bytes; fewer than asked for at the end of the data.</param>
    /// <returns>Success; TEE_ERROR_ACCESS_CONFLICT without <see cref="TrustedObjectFlags.AccessRead"/>.</returns>
    public TeeReturnCode Read(Span<byte> destination, out int count)
    {
        byte[] data = [];
        int length = destination.Length;
        TeeReturnCode code = Run(TrustedObjectFlags.AccessRead, writes: false, (tree, _, entry) =>
        {
            data = new byte[(int)Math.Clamp(entry.Size - Position, 0, length)];
            tree.ReadData(Owner.Application, entry, Position, data);
            return TeeReturnCode.Success;
        });
        count = code == TeeReturnCode.Success ? data.Length : 0;
        data.AsSpan(0, count).CopyTo(destination);
        Position += count;
        return code;
    }

    /// <summary>Reads all of the object into a new array, of a limited size. The position stays.</summary>
    /// <param name="maximum">The most that is read, in bytes.</param>
    /// <param name="content">The data; empty on failure.</param>
    /// <returns>
    /// Success; TEE_ERROR_EXCESS_DATA if the object is larger; TEE_ERROR_ACCESS_CONFLICT without
    /// <see cref="TrustedObjectFlags.AccessRead"/>.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="maximum"/> is negative.</exception>
    public TeeReturnCode ReadAll(int maximum, out byte[] content)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maximum);
        byte[] data = [];
        TeeReturnCode code = Run(TrustedObjectFlags.AccessRead, writes: false, (tree, _, entry) =>
        {
            if (entry.Size > maximum)
            {
                return TeeReturnCode.ExcessData;
            }

            data = new byte[(int)entry.Size];
            tree.ReadData(Owner.Application, entry, 0, data);
            return TeeReturnCode.Success;
        });
        content = code == TeeReturnCode.Success ? data : [];
        return code;
    }

    /// <summary>Writes at the position, which moves on (TEE_WriteObjectData): all of it or nothing.</summary>
    /// <param name="data">The data. What lies between the end of the object and the position becomes zeros.</param>
    /// <returns>
    /// Success; TEE_ERROR_ACCESS_CONFLICT without <see cref="TrustedObjectFlags.AccessWrite"/>; TEE_ERROR_OVERFLOW
    /// beyond <see cref="TrustedStorage.MaximumPosition"/>.
    /// </returns>
    public TeeReturnCode Write(ReadOnlySpan<byte> data)
    {
        long end = Position + data.Length;
        if (end > TrustedStorage.MaximumPosition)
        {
            return TeeReturnCode.Overflow;
        }

        byte[] copy = data.ToArray();
        TeeReturnCode code = Change(TrustedObjectFlags.AccessWrite, (tree, entry) =>
            end > Owner.Machine!.Quota ? null : tree.WriteData(Owner.Application, entry, Position, copy));
        if (code == TeeReturnCode.Success)
        {
            Position = end;
        }

        return code;
    }

    /// <summary>Makes the data shorter, or longer with zeros (TEE_TruncateObjectData). The position stays.</summary>
    /// <param name="size">The new size: 0 to <see cref="TrustedStorage.MaximumPosition"/> bytes.</param>
    /// <returns>Success; TEE_ERROR_ACCESS_CONFLICT without <see cref="TrustedObjectFlags.AccessWrite"/>.</returns>
    public TeeReturnCode Truncate(long size) =>
        size is < 0 or > TrustedStorage.MaximumPosition
            ? TeeReturnCode.BadParameters
            : Change(TrustedObjectFlags.AccessWrite, (tree, entry) =>
                size > Owner.Machine!.Quota ? null : tree.Resize(Owner.Application, entry, size));

    /// <summary>Moves the position (TEE_SeekObjectData); it may lie beyond the end, and is 0 at least.</summary>
    /// <param name="offset">How far, in bytes.</param>
    /// <param name="origin">From where.</param>
    /// <returns>Success; TEE_ERROR_OVERFLOW beyond <see cref="TrustedStorage.MaximumPosition"/>.</returns>
    public TeeReturnCode Seek(long offset, SeekOrigin origin)
    {
        long start = origin == SeekOrigin.Current ? Position : 0;
        if (origin == SeekOrigin.End)
        {
            TeeReturnCode code = GetSize(out start);
            if (code != TeeReturnCode.Success)
            {
                return code;
            }
        }

        if (offset > TrustedStorage.MaximumPosition - start)
        {
            return TeeReturnCode.Overflow;
        }

        Position = offset < -start ? 0 : start + offset;
        return TeeReturnCode.Success;
    }

    /// <summary>Renames the object (TEE_RenamePersistentObject).</summary>
    /// <param name="id">Its new id: 0 to 64 bytes.</param>
    /// <returns>
    /// Success; TEE_ERROR_ACCESS_CONFLICT if the id is taken, or without
    /// <see cref="TrustedObjectFlags.AccessWriteMeta"/>.
    /// </returns>
    public TeeReturnCode Rename(ReadOnlySpan<byte> id)
    {
        if (id.Length > TrustedStorage.MaximumIdLength)
        {
            return TeeReturnCode.BadParameters;
        }

        byte[] name = id.ToArray();
        TeeReturnCode code = Run(TrustedObjectFlags.AccessWriteMeta, writes: true, (tree, directory, entry) =>
        {
            if (directory.Exists(other => other.Id.AsSpan().SequenceEqual(name)))
            {
                return TeeReturnCode.AccessConflict;
            }

            directory[directory.IndexOf(entry)] = entry with { Id = name };
            tree.WriteDirectory(Owner.Application, directory);
            return TeeReturnCode.Success;
        });
        if (code == TeeReturnCode.Success)
        {
            Id = name;
        }

        return code;
    }

    /// <summary>Deletes the object and closes the handle (TEE_CloseAndDeletePersistentObject1).</summary>
    /// <returns>Success; TEE_ERROR_ACCESS_CONFLICT without <see cref="TrustedObjectFlags.AccessWriteMeta"/>.</returns>
    public TeeReturnCode Delete()
    {
        TeeReturnCode code = Run(TrustedObjectFlags.AccessWriteMeta, writes: true, (tree, directory, entry) =>
        {
            tree.DeleteObject(Owner.Application, entry);
            _ = directory.Remove(entry);
            tree.WriteDirectory(Owner.Application, directory);
            return TeeReturnCode.Success;
        });
        if (code == TeeReturnCode.Success)
        {
            Dispose();
        }

        return code;
    }

    /// <inheritdoc/>
    public void Dispose() => Owner.Machine?.Release(this);

    /// <summary>Whether a directory's entry is this object's.</summary>
    internal bool IsEntry(DirectoryEntry entry) => entry.Id.AsSpan().SequenceEqual(Id);

    /// <summary>Whether another handle is of the same object.</summary>
    internal bool IsSameObject(TrustedObject other) =>
        Owner.Application == other.Owner.Application && Id.AsSpan().SequenceEqual(other.Id);

    // An operation that returns no entry has no space.
    private TeeReturnCode Change(
        TrustedObjectFlags needed, Func<StorageTransaction, DirectoryEntry, DirectoryEntry?> operation) =>
        Run(needed, writes: true, (tree, directory, entry) =>
        {
            if (operation(tree, entry) is not { } changed)
            {
                return TeeReturnCode.StorageNoSpace;
            }

            directory[directory.IndexOf(entry)] = changed;
            tree.WriteDirectory(Owner.Application, directory);
            return TeeReturnCode.Success;
        });

    private TeeReturnCode Run(
        TrustedObjectFlags needed,
        bool writes,
        Func<StorageTransaction, List<DirectoryEntry>, DirectoryEntry, TeeReturnCode> operation) =>
        Owner.Run(writes, tree =>
        {
            if (!Owner.Machine!.OpenObjects.Contains(this))
            {
                return TeeReturnCode.BadState;
            }

            if ((Flags & needed) != needed)
            {
                return TeeReturnCode.AccessConflict;
            }

            List<DirectoryEntry> directory = tree.ReadDirectory(Owner.Application);
            return directory.Find(IsEntry) is { } entry
                ? operation(tree, directory, entry)
                : TeeReturnCode.ItemNotFound;
        });
}
