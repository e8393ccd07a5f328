using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>One instance of a trusted application: derive from it and override the entry points that matter.</summary>
/// <remarks>
/// <para>The entry points are GlobalPlatform's (TA_*EntryPoint). Each session entry point can be written synchronously
/// or asynchronously; override one of the two. The synchronous ones cost no allocation.</para>
/// <para>An asynchronous entry point continues after an await on the thread on which it began, which is prepared for
/// the operation, and may block there like a synchronous one. After <c>ConfigureAwait(false)</c> it is on the thread
/// pool, where it calls its guest and waits with the asynchronous methods only.</para>
/// <para>An instance runs one entry point at a time, from whatever thread, unless its manifest says
/// <see cref="TrustedApplicationManifest.Concurrent"/>. An instance belongs to one VM: what it keeps in fields, no
/// other VM sees. Static fields are shared by all VMs of the process; do without.</para>
/// <para>An exception that leaves an entry point is a panic: the instance and all its sessions are dead, their clients
/// get TEE_ERROR_TARGET_DEAD, origin TEE, none of the instance's entry points is called again (not
/// <see cref="Destroy"/> either), and the log has an entry: an error once a minute for each application of a VM, for
/// debugging in between. The exception to this is an <see cref="OperationCanceledException"/> in an operation whose
/// cancellation was requested: it is the return code TEE_ERROR_CANCEL.</para>
/// <para>An application that is <see cref="IDisposable"/> or <see cref="IAsyncDisposable"/> is disposed of at the end
/// of its instance, however that ends: after <see cref="Destroy"/>, after <see cref="Create"/> has failed, or after a
/// panic, when its last entry point has returned. The same holds for what it keeps as
/// <see cref="ApplicationCall.SessionContext"/>, with the session. So an exclusive file belongs into a field that
/// <c>Dispose</c> closes.</para>
/// <para>While the VM is paused, an application halts where it waits: for its guest, in
/// <see cref="ApplicationCall.Wait(TimeSpan)"/>, for its turn, or for what an entry point awaits. One that computes, or
/// blocks in another way, keeps the VM from being paused until it is done.</para>
/// <para>The client is hostile: check the parameters with <see cref="ApplicationCall.HasParameters"/> before anything
/// else, copy memory once, and check the copy.</para>
/// </remarks>
public abstract class TrustedApplication
{
    /// <summary>The longest key that <see cref="DeriveKey"/> derives, in bytes.</summary>
    public const int LongestDerivedKey = 255 * 32;

    private DerivedKeys? _keys;
    private ApplicationBuffers? _buffers;
    private int _isClaimed;

    /// <summary>
    /// The application's objects, for all entry points, <see cref="Create"/> and <see cref="Destroy"/> among them; not
    /// for the constructor, where everything is TEE_ERROR_STORAGE_NOT_AVAILABLE, nor for the <see cref="Create"/> of an
    /// <see cref="ISavableApplication"/>: it is called for a restored VM too, whose restore is refused then.
    /// </summary>
    protected internal TrustedStorage Storage { get; private set; } = TrustedStorage.None;

    /// <summary>
    /// Derives a key that this application has in this VM only, from the root key
    /// (<see cref="SoftwareTeeOptions.KeySource"/>): the same each time, on each host that has the same root key. Keep
    /// it in memory only, and overwrite it after use.
    /// </summary>
    /// <param name="label">Tells the application's keys apart; any length.</param>
    /// <param name="key">
    /// Receives the key: 1 to <see cref="LongestDerivedKey"/> bytes. Keys of different lengths have nothing in common.
    /// </param>
    /// <returns>
    /// Success; TEE_ERROR_NOT_SUPPORTED if there is no root key or the VM has no
    /// <see cref="Guests.OpTeeGuestOptions.Identity"/>, and in the constructor; TEE_ERROR_STORAGE_NOT_AVAILABLE if the
    /// root key cannot be read now: the log says why. Then <paramref name="key"/> is all zero.
    /// </returns>
    /// <exception cref="ArgumentException"><paramref name="key"/> is empty or too long.</exception>
    /// <remarks>It reads the root key, which may be a file. Thread-safe.</remarks>
    protected internal TeeReturnCode DeriveKey(ReadOnlySpan<byte> label, Span<byte> key)
    {
        if (key.Length is 0 or > LongestDerivedKey)
        {
            throw new ArgumentException(
                $"A key of {key.Length} bytes; expected 1 to {LongestDerivedKey}.", nameof(key));
        }

        key.Clear();
        return _keys?.Derive(Storage.Application, label, key) ?? TeeReturnCode.NotSupported;
    }

    /// <summary>
    /// The system time (TEE_GetSystemTime): monotonic, the same clock for all applications of the host, from an
    /// arbitrary origin. It continues while the VM is paused. The guest's time is
    /// <see cref="ApplicationGuest.GetTime"/>, the application's own <see cref="TrustedStorage.GetPersistentTime"/>.
    /// </summary>
    protected internal static TimeSpan SystemTime => TimeProvider.System.GetElapsedTime(0);

    /// <summary>
    /// Allocates memory that counts for the VM's <see cref="SoftwareTeeOptions.MemoryQuota"/> (TEE_Malloc): for
    /// everything whose size or number the client decides.
    /// </summary>
    /// <param name="size">The size in bytes, 0 or more. A buffer counts 128 bytes more than its size.</param>
    /// <param name="buffer">
    /// The memory, all zero, until it is disposed of or the instance ends; <see langword="null"/> on failure.
    /// </param>
    /// <returns>Success; TEE_ERROR_OUT_OF_MEMORY beyond the quota, and in the constructor.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is negative.</exception>
    /// <remarks>Thread-safe.</remarks>
    protected internal TeeReturnCode Allocate(int size, out ApplicationBuffer? buffer)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        buffer = null;
        return _buffers?.Allocate(size, out buffer) ?? TeeReturnCode.OutOfMemory;
    }

    /// <summary>
    /// The VM is reset (<see cref="Guests.OpTeeGuest.ResetAsync"/>), and this instance has outlived its sessions
    /// (<see cref="TrustedApplicationManifest.InstanceKeepAlive"/>).
    /// </summary>
    /// <returns>
    /// Whether the instance stays, for an application that is a device with a reset of its own. The default is
    /// <see langword="false"/>: the instance is destroyed, as at the reset of a machine, and the next session has a new
    /// one.
    /// </returns>
    /// <remarks>
    /// Not called while a session is open: a driver after the reset has opened one already. The instance then ends with
    /// its last session.
    /// </remarks>
    protected internal virtual bool VirtualMachineReset() => false;

    /// <summary>TA_CreateEntryPoint: called once, before the instance's first session or, of an
    /// <see cref="ISavableApplication"/>, before <see cref="ISavableApplication.RestoreInstance"/>.</summary>
    /// <returns>A code other than success refuses the session, origin TRUSTED_APP, and ends the instance.</returns>
    protected internal virtual TeeReturnCode Create() => TeeReturnCode.Success;

    /// <summary>TA_DestroyEntryPoint: after the last session; with InstanceKeepAlive, at the VM's end.</summary>
    protected internal virtual void Destroy()
    {
    }

    /// <summary>TA_OpenSessionEntryPoint: a client wants a session.</summary>
    /// <param name="call">
    /// The session and the operation's parameters. Keep what belongs to the session in
    /// <see cref="ApplicationCall.SessionContext"/>.
    /// </param>
    /// <returns>A code other than success refuses the session, with origin TRUSTED_APP.</returns>
    protected internal virtual TeeReturnCode OpenSession(ApplicationCall call) => TeeReturnCode.Success;

    /// <summary>TA_InvokeCommandEntryPoint: a client invokes <see cref="ApplicationCall.CommandId"/>.</summary>
    /// <param name="call">The session, the command and its parameters.</param>
    /// <returns>What the client gets, with origin TRUSTED_APP. The default is TEE_ERROR_NOT_IMPLEMENTED.</returns>
    protected internal virtual TeeReturnCode InvokeCommand(ApplicationCall call) => TeeReturnCode.NotImplemented;

    /// <summary>TA_CloseSessionEntryPoint: the session ends.</summary>
    /// <param name="call">The session; there are no parameters.</param>
    protected internal virtual void CloseSession(ApplicationCall call)
    {
    }

    /// <summary>The asynchronous form of <see cref="OpenSession"/>.</summary>
    /// <param name="call">The session and the operation's parameters.</param>
    /// <returns>A code other than success refuses the session, with origin TRUSTED_APP.</returns>
    protected internal virtual ValueTask<TeeReturnCode> OpenSessionAsync(ApplicationCall call) =>
        new(OpenSession(call));

    /// <summary>The asynchronous form of <see cref="InvokeCommand"/>.</summary>
    /// <param name="call">The session, the command and its parameters; not to be used after the task has ended.</param>
    /// <returns>What the client gets, with origin TRUSTED_APP.</returns>
    protected internal virtual ValueTask<TeeReturnCode> InvokeCommandAsync(ApplicationCall call) =>
        new(InvokeCommand(call));

    /// <summary>The asynchronous form of <see cref="CloseSession"/>.</summary>
    /// <param name="call">The session; there are no parameters.</param>
    /// <returns>A task that ends when the session is closed.</returns>
    protected internal virtual ValueTask CloseSessionAsync(ApplicationCall call)
    {
        CloseSession(call);
        return default;
    }

    /// <summary>Gives the application what belongs to it in its VM.</summary>
    internal void Attach(Guid application, VirtualMachineSecrets secrets, MemoryQuota memory)
    {
        _buffers = new ApplicationBuffers(memory);
        Storage = new TrustedStorage(application, secrets.Storage);
        _keys = secrets.Keys;
    }

    /// <summary>The instance has ended: releases what it has left.</summary>
    internal void ReleaseResources()
    {
        Storage.ReleaseHandles();
        _buffers?.ReleaseAll();
    }

    /// <summary>Takes the instance for one owner: the factory may return it twice by mistake.</summary>
    internal bool TryClaim() => Interlocked.Exchange(ref _isClaimed, 1) == 0;
}
