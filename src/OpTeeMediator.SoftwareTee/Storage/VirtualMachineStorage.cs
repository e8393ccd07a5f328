using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The trusted storage of one VM: runs one operation at a time, each in a transaction.</summary>
/// <remarks>Thread-safe. No operation throws.</remarks>
/// <param name="options">The store and the counter.</param>
/// <param name="keySource">The root key.</param>
/// <param name="id">The VM's durable identity.</param>
/// <param name="name">The VM's name, for the log.</param>
/// <param name="logger">Where failures are logged.</param>
internal sealed class VirtualMachineStorage(
    TrustedStorageOptions options, ITeeKeySource keySource, Guid id, string name, ILogger logger) : IDisposable
{
    /// <summary>How far the store may be ahead of the counter: by the commit of opening.</summary>
    private const int OpeningStep = 2;

    private readonly RepeatedMessages _failures = new();
    private readonly Lock _lock = new();
    private readonly List<TrustedObject> _open = [];
    private ITeeStoreSession? _session;
    private StorageKeys? _keys;
    private bool _isOpen;
    private volatile bool _isHeld;
    private Guid? _earlyUser;
    private bool _isDisposed;
    private RecordReference _current;
    private RecordReference _pending;
    private long _anchored;

    // The root record is the parent of all others and belongs to no application.
    private static TeeStoreKey RootKey => default;

    /// <summary>Whether the store calls the guest.</summary>
    public bool CallsGuest => options.Store.CallsGuest;

    /// <summary>The most that the VM may store, in bytes.</summary>
    public long Quota => options.Quota;

    /// <summary>The time, by the host's clock.</summary>
    public DateTimeOffset Now => options.TimeProvider.GetUtcNow();

    /// <summary>The handles of all instances; used only within <see cref="Run"/>.</summary>
    public IReadOnlyList<TrustedObject> OpenObjects => _open;

    /// <summary>The first application that has used the storage since <see cref="Hold"/>, if one has.</summary>
    public Guid? EarlyUser
    {
        get
        {
            lock (_lock)
            {
                return _earlyUser;
            }
        }
    }

    /// <summary>The VM may run elsewhere, with this storage: the store is not reached, and no lease taken, until
    /// <see cref="Release()"/>.</summary>
    /// <remarks>Waits for no operation: one that waits for the guest cannot end while the VM is paused.</remarks>
    public void Hold() => _isHeld = true;

    /// <summary>The VM runs here: its storage can be used.</summary>
    public void Release() => _isHeld = false;

    /// <summary>Notes a handle. Called within <see cref="Run"/>.</summary>
    public void Add(TrustedObject handle) => _open.Add(handle);

    /// <summary>Releases a handle.</summary>
    public void Release(TrustedObject handle)
    {
        Enter();
        _ = _open.Remove(handle);
        _lock.Exit();
    }

    /// <summary>Releases the handles of an instance.</summary>
    public void Release(TrustedStorage owner)
    {
        Enter();
        _ = _open.RemoveAll(handle => handle.Owner == owner);
        _lock.Exit();
    }

    /// <summary>Runs an operation; its changes take effect if it succeeds, and only then.</summary>
    /// <param name="application">The application whose operation it is.</param>
    /// <param name="writes">Whether it changes something.</param>
    /// <param name="operation">The operation.</param>
    /// <returns>Its code, or that of a failure, which is logged.</returns>
    public TeeReturnCode Run(Guid application, bool writes, Func<StorageTransaction, TeeReturnCode> operation)
    {
        Enter();
        try
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            ThrowIfHeld(application);
            Open();
            return RunOpen(writes, operation);
        }
        catch (CorruptStorageException exception)
        {
            return Fail(exception, TeeReturnCode.CorruptObject);
        }
        catch (TeeStoreException exception)
        {
            return Fail(exception, exception.Failure switch
            {
                TeeStoreFailure.Full => TeeReturnCode.StorageNoSpace,
                TeeStoreFailure.Corrupt => TeeReturnCode.CorruptObject,
                _ => TeeReturnCode.StorageNotAvailable,
            });
        }
        catch (Exception exception)
        {
            // Store, key source and counter are supplied and may throw anything.
            return Fail(exception, TeeReturnCode.StorageNotAvailable);
        }
        finally
        {
            _lock.Exit();
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
            _open.Clear();
            _keys?.Dispose();
            try
            {
                _session?.Dispose();
            }
            catch (Exception exception)
            {
                _ = Fail(exception, TeeReturnCode.StorageNotAvailable);
            }
        }
    }

    private void ThrowIfHeld(Guid application)
    {
        if (_isHeld)
        {
            _earlyUser ??= application;
            throw new TeeStoreException(
                $"application {application} uses it while the VM may run elsewhere, as it is being restored or has "
                + "moved: it can be used when the restored VM has been resumed");
        }
    }

    // Who has the lock may be waiting for the guest, which does not answer while its VM is paused.
    private void Enter()
    {
        if (!CallsGuest || ThreadOperation.Current is not { } operation)
        {
            _lock.Enter();
        }
        else if (!_lock.TryEnter())
        {
            operation.Guest.BeginWait();
            _lock.Enter();
            operation.Guest.EndWait();
        }
    }

    private TeeReturnCode RunOpen(bool writes, Func<StorageTransaction, TeeReturnCode> operation)
    {
        using ITeeStoreTransaction transaction = _session!.Begin(writes);
        RootContent root = ReadKnownRoot(transaction);
        Anchor(_current.Version);
        long used = root.Used;
        StorageTransaction tree = new(transaction, _keys!, root, _current.Version + 1);
        TeeReturnCode code = operation(tree);
        if (!writes || code != TeeReturnCode.Success)
        {
            return code;
        }

        if (root.Used > Quota && root.Used > used)
        {
            return TeeReturnCode.StorageNoSpace;
        }

        Commit(transaction, root, _current.Version + 1);
        return TeeReturnCode.Success;
    }

    // The opening writes a root of its own, so that an older copy of the store cannot continue beside a newer one
    // under the same value of the counter.
    private void Open()
    {
        if (_isOpen)
        {
            return;
        }

        _keys ??= new StorageKeys(keySource, id);
        _session ??= options.Store.Open(id);
        using ITeeStoreTransaction transaction = _session.Begin(writes: options.Anchor is not null);
        long anchored = options.Anchor?.Read(id) ?? 0;
        RootContent root = new();
        RecordReference found = default;
        if (transaction.ReadRoot() is { } record)
        {
            (found, root) = DecryptRoot(record);
        }
        else if (transaction.HasRecords())
        {
            throw new CorruptStorageException("the root record is missing, other records are there");
        }

        if (options.Anchor is not null)
        {
            if (found.Version < anchored || found.Version - anchored > OpeningStep)
            {
                throw new CorruptStorageException(
                    $"the store has version {found.Version}, the rollback counter {anchored}: "
                    + (found.Version < anchored ? "an older copy of the store was put back" : "the counter went back")
                    + ", or the two do not belong together");
            }

            (_current, _anchored) = (found, anchored);
            Commit(transaction, root, anchored + OpeningStep);
        }

        _current = options.Anchor is null ? found : _current;
        _isOpen = true;
    }

    private RootContent ReadKnownRoot(ITeeStoreTransaction transaction)
    {
        RootContent root = new();
        RecordReference found = default;
        if (transaction.ReadRoot() is { } record)
        {
            (found, root) = DecryptRoot(record);
        }

        // After a commit whose outcome is unknown, the root tells it.
        if (found != _current && (found != _pending || !_pending.Exists))
        {
            throw new CorruptStorageException(
                $"the root record is not the last one: it has version {found.Version}, expected {_current.Version}");
        }

        (_current, _pending) = (found, default);
        return root;
    }

    private (RecordReference Reference, RootContent Root) DecryptRoot(TeeStoreRecord record)
    {
        const int StampLength = 16;
        const int HeaderLength = StampLength + StorageKeys.CheckLength;
        ReadOnlySpan<byte> data = record.Data.Span;
        if (data.Length < HeaderLength)
        {
            throw new CorruptStorageException("the root record is too short");
        }

        RecordReference reference = new(new Guid(data[..StampLength]), record.Version);
        bool isSameKey = data[StampLength..HeaderLength].SequenceEqual(_keys!.Check);
        try
        {
            byte[] plain = _keys.Decrypt(RootKey, reference, data[HeaderLength..]);
            return isSameKey
                ? (reference, RootContent.Parse(plain))
                : throw new CorruptStorageException("the root record was changed");
        }
        catch (CorruptStorageException exception) when (!isSameKey && exception.InnerException is not null)
        {
            throw new TeeStoreException(
                "the root key is not the one with which this VM's records were written; supply that one", exception);
        }
    }

    private void Commit(ITeeStoreTransaction transaction, RootContent root, long version)
    {
        RecordReference reference = new(StorageTransaction.NewStamp(), version);
        byte[] encrypted = _keys!.Encrypt(RootKey, reference, root.ToBytes());
        byte[] data = [.. reference.Stamp.ToByteArray(), .. _keys.Check, .. encrypted];
        if (!transaction.TryReplaceRoot(_current.Version, new TeeStoreRecord(version, data)))
        {
            throw new CorruptStorageException($"the root record has not version {_current.Version}");
        }

        _pending = reference;
        transaction.Commit();
        (_current, _pending) = (reference, default);
        Anchor(version);
    }

    // After the commit: the store is then one version ahead at most, which the next opening accepts. No operation
    // succeeds, and none follows, before the counter has the store's version.
    private void Anchor(long version)
    {
        if (options.Anchor is not null && _anchored != version)
        {
            options.Anchor.Advance(id, version);
            _anchored = version;
        }
    }

    private TeeReturnCode Fail(Exception exception, TeeReturnCode code)
    {
        if (_failures.IsDue(exception.Message))
        {
            logger.StorageFailed(exception, name, id, exception.Message, code);
        }

        return code;
    }
}
