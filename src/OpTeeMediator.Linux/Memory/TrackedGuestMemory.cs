using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Guest RAM that knows which of its pages were written, for moving a VM while it runs.</summary>
/// <remarks>
/// <para>Give it, and not the memory inside, to the VM's OP-TEE and to the VMM's devices, and name the VMs of KVM that
/// map the memory (<c>AddVm</c>): KVM's dirty log has what their vCPUs write. A VMM that reads that log by itself
/// (<c>KvmVm.GetDirtyLog</c>) names none. Without tracking it costs a call more an access; a tracked write costs one
/// locked instruction a page.</para>
/// <para>To copy a running VM: <see cref="StartTracking"/>; copy all memory; as often as it pays, copy what
/// <see cref="TakeWritten"/> names; stop the vCPUs, pause the OP-TEE, and copy that once more.</para>
/// <para>Thread-safe. It does not own the memory. Regions that are added while tracking goes on are not tracked: start
/// again.</para>
/// </remarks>
/// <param name="memory">The memory.</param>
public sealed class TrackedGuestMemory(MappedGuestMemory memory)
    : IMappedGuestMemory, IFileBackedGuestMemory, IWriteTrackedGuestMemory
{
    private readonly Lock _vmsLock = new();
    private readonly List<DirtyLog> _logs = [];
    private volatile WrittenPages? _written;

    /// <summary>The memory.</summary>
    public MappedGuestMemory Inner { get; } = memory ?? throw new ArgumentNullException(nameof(memory));

    /// <inheritdoc/>
    public int MappingGranule => Inner.MappingGranule;

    /// <summary>Names a VM of KVM that maps the memory, so that what its vCPUs write is tracked too.</summary>
    /// <param name="vm">The VM, after <see cref="GuestMemoryMapping.MapMemory(KvmVm, MappedGuestMemory, int)"/>;
    /// <see cref="RemoveVm"/> comes before its disposal.</param>
    /// <param name="firstSlot">The slot of the first region; the others follow.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vm"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">One of the slots is empty, while tracking goes on.</exception>
    /// <exception cref="SystemCallException">KVM refuses to log, while tracking goes on.</exception>
    /// <remarks>Several VMs may map the memory, as a guest's and its companion's do.</remarks>
    [Experimental("OPTEE001")]
    public void AddVm(KvmVm vm, int firstSlot = 0)
    {
        ArgumentNullException.ThrowIfNull(vm);
        DirtyLog log = new(vm, firstSlot, [.. Inner.Regions.Select(region => region.Range)]);
        lock (_vmsLock)
        {
            if (_written is not null)
            {
                log.Set(isOn: true);
            }

            _logs.Add(log);
        }
    }

    /// <summary>Tracks a VM no longer. What it has written up to now is not lost; if KVM does not tell what that was,
    /// all pages count as written.</summary>
    /// <param name="vm">The VM; none of its vCPUs runs. One that was not named is ignored.</param>
    [Experimental("OPTEE001")]
    public void RemoveVm(KvmVm vm)
    {
        lock (_vmsLock)
        {
            foreach (DirtyLog log in _logs.Where(log => log.Vm == vm).ToArray())
            {
                _ = _logs.Remove(log);
                if (_written is not { } written)
                {
                    continue;
                }

                try
                {
                    log.MoveTo(written);
                    log.Set(isOn: false);
                }
                catch (Exception failure) when (failure is SystemCallException or ObjectDisposedException)
                {
                    // No page may be missed, and who removes a VM is about to dispose of more than the VM.
                    log.MoveAllTo(written);
                }
            }
        }
    }

    /// <summary>Notes from now on which pages are written; forgets what was noted before.</summary>
    /// <exception cref="SystemCallException">KVM refuses to log what a VM writes; nothing is tracked then.</exception>
    public void StartTracking()
    {
        lock (_vmsLock)
        {
            try
            {
                // More may be named than was written since, never less: logs that are on keep what they have.
                _written = new WrittenPages(Inner.Regions);
                _logs.ForEach(log => log.Set(isOn: true));
            }
            catch
            {
                StopTracking();
                throw;
            }
        }
    }

    /// <summary>Notes nothing any more.</summary>
    public void StopTracking()
    {
        lock (_vmsLock)
        {
            if (_written is not null)
            {
                _written = null;
                _logs.ForEach(log => log.Set(isOn: false));
            }
        }
    }

    /// <summary>The pages that were written since <see cref="StartTracking"/> or the last call, in ascending order, as
    /// ranges of whole pages of 4096 bytes; none without tracking.</summary>
    /// <exception cref="SystemCallException">KVM does not tell what a VM has written.</exception>
    /// <remarks>Read their content afterwards: a page that is written while it is copied is named again.</remarks>
    public IReadOnlyList<GuestRange> TakeWritten()
    {
        lock (_vmsLock)
        {
            if (_written is not { } written)
            {
                return [];
            }

            _logs.ForEach(log => log.MoveTo(written));
            return written.Take();
        }
    }

    /// <inheritdoc/>
    public void NotifyWritten(GuestRange range) => _written?.Add(range.Start.Value, range.Length);

    /// <inheritdoc/>
    public bool TryRead(GuestAddress address, Span<byte> destination) => Inner.TryRead(address, destination);

    /// <inheritdoc/>
    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        bool isWritten = Inner.TryWrite(address, source);
        if (isWritten)
        {
            _written?.Add(address.Value, (ulong)source.Length);
        }

        return isWritten;
    }

    /// <inheritdoc/>
    public bool TryPin(GuestPages pages) => Inner.TryPin(pages);

    /// <inheritdoc/>
    public void Unpin(GuestPages pages) => Inner.Unpin(pages);

    /// <inheritdoc/>
    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window) =>
        Inner.TryGetWindow(address, length, out window);

    /// <inheritdoc/>
    public bool TryGetHostAddress(GuestRange range, out nint hostAddress) =>
        Inner.TryGetHostAddress(range, out hostAddress);

    /// <inheritdoc/>
    public bool TryGetFile(GuestRange range, out SafeHandle file, out long offset) =>
        Inner.TryGetFile(range, out file, out offset);
}
