using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The objects of a trusted application in its VM: GlobalPlatform's TEE_STORAGE_PRIVATE.</summary>
/// <remarks>
/// <para>All instances of the application in a VM see the same objects; no other application and no other VM does. Each
/// operation is durable and complete when it returns success, and has no effect otherwise. Calls block on the store;
/// handles that an instance leaves open are released at its end. Thread-safe.</para>
/// <para>Every method may return TEE_ERROR_STORAGE_NOT_AVAILABLE (there is no store, or it cannot be reached),
/// TEE_ERROR_CORRUPT_OBJECT (something was changed outside of the TEE) and TEE_ERROR_STORAGE_NO_SPACE (the quota or the
/// disk).</para>
/// <para>While a VM is being restored, and until it is resumed, it may still run where it was saved, with the same
/// objects: every method returns TEE_ERROR_STORAGE_NOT_AVAILABLE then, and an application that calls one in
/// <see cref="Applications.TrustedApplication.Create"/> or while its state is restored has the restore refused,
/// whatever it makes of the code.</para>
/// </remarks>
public sealed class TrustedStorage
{
    /// <summary>TEE_OBJECT_ID_MAX_LEN, in bytes.</summary>
    public const int MaximumIdLength = 64;

    /// <summary>TEE_DATA_MAX_POSITION, in bytes.</summary>
    public const long MaximumPosition = uint.MaxValue;

    private const TrustedObjectFlags HandleFlags = TrustedObjectFlags.AccessRead | TrustedObjectFlags.AccessWrite
        | TrustedObjectFlags.AccessWriteMeta | TrustedObjectFlags.ShareRead | TrustedObjectFlags.ShareWrite;

    internal TrustedStorage(Guid application, VirtualMachineStorage? storage)
    {
        Application = application;
        Machine = storage;
    }

    /// <summary>The storage where there is no store.</summary>
    internal static TrustedStorage None { get; } = new(Guid.Empty, null);

    /// <summary>Whether there is a store; it may still be out of reach.</summary>
    public bool IsAvailable => Machine is not null;

    /// <summary>Whether an operation was begun.</summary>
    internal bool WasUsed { get; private set; }

    /// <summary>The application whose objects these are.</summary>
    internal Guid Application { get; }

    /// <summary>The VM's storage, if there is one.</summary>
    internal VirtualMachineStorage? Machine { get; }

    /// <summary>Opens an object (TEE_OpenPersistentObject).</summary>
    /// <param name="id">Its id: 0 to 64 bytes.</param>
    /// <param name="flags">How; <see cref="TrustedObjectFlags.Overwrite"/> is not allowed.</param>
    /// <param name="handle">The handle at position 0, to be disposed of; <see langword="null"/> on failure.</param>
    /// <returns>
    /// Success; TEE_ERROR_ITEM_NOT_FOUND; TEE_ERROR_ACCESS_CONFLICT if another handle does not share;
    /// TEE_ERROR_BAD_PARAMETERS.
    /// </returns>
    public TeeReturnCode Open(ReadOnlySpan<byte> id, TrustedObjectFlags flags, out TrustedObject? handle)
    {
        handle = null;
        if (id.Length > MaximumIdLength || (flags & ~HandleFlags) != 0)
        {
            return TeeReturnCode.BadParameters;
        }

        TrustedObject opened = new(this, id.ToArray(), flags);
        TeeReturnCode code = Run(writes: false, tree =>
        {
            if (tree.ReadDirectory(Application).Find(opened.IsEntry) is null)
            {
                return TeeReturnCode.ItemNotFound;
            }

            if (Conflicts(opened))
            {
                return TeeReturnCode.AccessConflict;
            }

            Machine!.Add(opened);
            return TeeReturnCode.Success;
        });
        handle = code == TeeReturnCode.Success ? opened : null;
        return code;
    }

    /// <summary>Creates an object with its first data (TEE_CreatePersistentObject).</summary>
    /// <param name="id">Its id: 0 to 64 bytes.</param>
    /// <param name="flags">
    /// How; <see cref="TrustedObjectFlags.Overwrite"/> replaces an object that exists, atomically: it is the old or
    /// the new one.
    /// </param>
    /// <param name="data">Its data.</param>
    /// <param name="handle">The handle at position 0, to be disposed of; <see langword="null"/> on failure.</param>
    /// <returns>
    /// Success; TEE_ERROR_ACCESS_CONFLICT if it exists and must not be overwritten, or is open;
    /// TEE_ERROR_BAD_PARAMETERS.
    /// </returns>
    public TeeReturnCode Create(
        ReadOnlySpan<byte> id, TrustedObjectFlags flags, ReadOnlySpan<byte> data, out TrustedObject? handle)
    {
        handle = null;
        if (id.Length > MaximumIdLength || (flags & ~(HandleFlags | TrustedObjectFlags.Overwrite)) != 0)
        {
            return TeeReturnCode.BadParameters;
        }

        if (Machine is not null && data.Length > Machine.Quota)
        {
            return TeeReturnCode.StorageNoSpace;
        }

        TrustedObject created = new(this, id.ToArray(), flags & HandleFlags);
        byte[] copy = data.ToArray();
        TeeReturnCode code = Run(writes: true, tree =>
        {
            List<DirectoryEntry> directory = tree.ReadDirectory(Application);
            int index = directory.FindIndex(created.IsEntry);
            if (index >= 0)
            {
                if ((flags & TrustedObjectFlags.Overwrite) == 0
                    || Machine!.OpenObjects.Any(other => other.IsSameObject(created)))
                {
                    return TeeReturnCode.AccessConflict;
                }

                tree.DeleteObject(Application, directory[index]);
                directory.RemoveAt(index);
            }

            directory.Add(tree.CreateObject(Application, created.Id, copy));
            tree.WriteDirectory(Application, directory);

            // Noted before the commit, so that no other handle comes between; released again if that fails.
            Machine!.Add(created);
            return TeeReturnCode.Success;
        });
        handle = code == TeeReturnCode.Success ? created : null;
        if (handle is null)
        {
            created.Dispose();
        }

        return code;
    }

    /// <summary>Lists the application's objects (TEE_GetNextPersistentObject).</summary>
    /// <param name="objects">The objects at this moment, in the order of their creation.</param>
    /// <returns>Success, also if there is none.</returns>
    public TeeReturnCode Enumerate(out IReadOnlyList<TrustedObjectInfo> objects)
    {
        List<TrustedObjectInfo> found = [];
        TeeReturnCode code = Run(writes: false, tree =>
        {
            found.AddRange(
                tree.ReadDirectory(Application)
                    .Where(entry => entry.Id.Length <= MaximumIdLength)
                    .Select(entry => new TrustedObjectInfo(entry.Id, entry.Size)));
            return TeeReturnCode.Success;
        });
        objects = found;
        return code;
    }

    /// <summary>Sets the application's persistent time (TEE_SetTAPersistentTime), which goes on from then.</summary>
    /// <param name="time">
    /// The time since an origin that the application chooses: 0 or more, and less than 2³² seconds.
    /// </param>
    /// <returns>Success or a failure of the storage.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is negative or too long.</exception>
    /// <remarks>
    /// It is kept like an object, without being one, and follows the host's clock while the VM is off.
    /// </remarks>
    public TeeReturnCode SetPersistentTime(TimeSpan time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(time, PersistentTime.Maximum);
        return Run(writes: true, tree =>
        {
            List<DirectoryEntry> directory = tree.ReadDirectory(Application);
            int index = directory.FindIndex(PersistentTime.IsEntry);
            if (index >= 0)
            {
                tree.DeleteObject(Application, directory[index]);
                directory.RemoveAt(index);
            }

            byte[] content = new PersistentTime(time, Machine!.Now).ToBytes();
            directory.Add(tree.CreateObject(Application, PersistentTime.Id, content));
            tree.WriteDirectory(Application, directory);
            return TeeReturnCode.Success;
        });
    }

    /// <summary>Asks for the application's persistent time (TEE_GetTAPersistentTime).</summary>
    /// <param name="time">The time; with TEE_ERROR_OVERFLOW its seconds modulo 2³², with other codes 0.</param>
    /// <returns>
    /// Success; TEE_ERROR_TIME_NOT_SET; TEE_ERROR_TIME_NEEDS_RESET if the host's clock is before the moment when the
    /// time was set, or what was kept is corrupt; TEE_ERROR_OVERFLOW after 2³² seconds.
    /// </returns>
    public TeeReturnCode GetPersistentTime(out TimeSpan time)
    {
        TimeSpan found = default;
        TeeReturnCode code = Run(writes: false, tree =>
        {
            if (tree.ReadDirectory(Application).Find(PersistentTime.IsEntry) is not { } entry)
            {
                return TeeReturnCode.TimeNotSet;
            }

            byte[] content = new byte[PersistentTime.Length];
            tree.ReadData(Application, entry, 0, content);
            return PersistentTime.Parse(content).Read(Machine!.Now, out found);
        });
        time = found;
        return code == TeeReturnCode.CorruptObject ? TeeReturnCode.TimeNeedsReset : code;
    }

    /// <summary>Runs an operation of the application.</summary>
    internal TeeReturnCode Run(bool writes, Func<StorageTransaction, TeeReturnCode> operation)
    {
        WasUsed = true;
        return Machine?.Run(Application, writes, operation) ?? TeeReturnCode.StorageNotAvailable;
    }

    /// <summary>Releases the handles that the instance has left open.</summary>
    internal void ReleaseHandles() => Machine?.Release(this);

    private bool Conflicts(TrustedObject opened) => Machine!.OpenObjects.Any(
        other => other.IsSameObject(opened) && !MayShare(other.Flags, opened.Flags));

    // GlobalPlatform, "Effect of sharing flags": both handles have the same share flags; each access that one of them
    // has is shared by both; WRITE_META is exclusive.
    private static bool MayShare(TrustedObjectFlags first, TrustedObjectFlags second)
    {
        const TrustedObjectFlags Shares = TrustedObjectFlags.ShareRead | TrustedObjectFlags.ShareWrite;
        TrustedObjectFlags either = first | second;
        return (either & TrustedObjectFlags.AccessWriteMeta) == 0
            && (first & Shares) == (second & Shares)
            && ((either & TrustedObjectFlags.AccessRead) == 0 || (first & TrustedObjectFlags.ShareRead) != 0)
            && ((either & TrustedObjectFlags.AccessWrite) == 0 || (first & TrustedObjectFlags.ShareWrite) != 0);
    }
}
