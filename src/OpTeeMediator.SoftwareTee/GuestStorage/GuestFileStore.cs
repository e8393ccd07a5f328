using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.GuestStorage;

/// <summary>Keeps the records of a VM in files of its guest, by its tee-supplicant, and the root record on the
/// host.</summary>
/// <remarks>
/// <para>The root record binds every other one, so that files that the guest changes, swaps, deletes or puts back are
/// noticed: TEE_ERROR_CORRUPT_OBJECT. Nothing can keep the guest from losing its own objects. A record is a new file;
/// it counts when the root record on the host says so, and the one before is removed after that: a crash leaves the old
/// or the new version, and perhaps files that nobody reads any more.</para>
/// <para>Each access is several calls to the guest. As long as no supplicant runs, the first one waits for it. Guest
/// calls are made while no transaction of the host's store is open: a guest that does not answer holds up its own VM
/// only. Applications must run on workers, and use their storage on the thread of their operation: one that runs inline
/// has no storage. Where no operation of the guest runs, as in Destroy when the VM ends, it is not available.</para>
/// <para>Immutable, hence thread-safe.</para>
/// </remarks>
public sealed class GuestFileStore : ITeeStore
{
    private readonly ITeeStore _roots;

    /// <summary>Creates a store.</summary>
    /// <param name="roots">Keeps the root records, some hundred bytes for each application of a VM.</param>
    /// <exception cref="ArgumentNullException"><paramref name="roots"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException"><paramref name="roots"/> calls the guest itself.</exception>
    public GuestFileStore(ITeeStore roots)
    {
        ArgumentNullException.ThrowIfNull(roots);
        if (roots.CallsGuest)
        {
            throw new ArgumentException("The root records must be kept on the host.", nameof(roots));
        }

        _roots = roots;
    }

    /// <inheritdoc/>
    public bool CallsGuest => true;

    /// <inheritdoc/>
    public ITeeStoreSession Open(Guid virtualMachine) =>
        new GuestFileSession(_roots.Open(virtualMachine), new RecordFiles(virtualMachine));
}
