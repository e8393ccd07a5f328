using System.Runtime.InteropServices;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Guest RAM that knows which of its pages were written otherwise than by a vCPU, for moving a VM while it
/// runs.</summary>
/// <remarks>
/// <para>Give it, and not the memory inside, to the VM's OP-TEE and to the VMM's devices. KVM's dirty log
/// (<c>KvmVm.GetDirtyLog</c>) has the vCPUs' part; both together are all. Without tracking it costs a call more an
/// access; a tracked write costs one locked instruction a page.</para>
/// <para>To copy a running VM: <see cref="StartTracking"/>; copy all memory; as often as it pays, copy what
/// <see cref="TakeWritten"/> names; stop the vCPUs, pause the OP-TEE, and copy that once more.</para>
/// <para>Thread-safe. It does not own the memory. Regions that are added while tracking goes on are not tracked: start
/// again.</para>
/// </remarks>
/// <param name="memory">The memory.</param>
public sealed class TrackedGuestMemory(MappedGuestMemory memory)
    : IMappedGuestMemory, IFileBackedGuestMemory, IWriteTrackedGuestMemory
{
    private volatile WrittenPages? _written;

    /// <summary>The memory.</summary>
    public MappedGuestMemory Inner { get; } = memory ?? throw new ArgumentNullException(nameof(memory));

    /// <inheritdoc/>
    public int MappingGranule => Inner.MappingGranule;

    /// <summary>Notes from now on which pages are written; forgets what was noted before.</summary>
    public void StartTracking() => _written = new WrittenPages(Inner.Regions);

    /// <summary>Notes nothing any more.</summary>
    public void StopTracking() => _written = null;

    /// <summary>The pages that were written since <see cref="StartTracking"/> or the last call, in ascending order, as
    /// ranges of whole pages of 4096 bytes; none without tracking.</summary>
    /// <remarks>Read their content afterwards: a page that is written while it is copied is named again.</remarks>
    public IReadOnlyList<GuestRange> TakeWritten() => _written?.Take() ?? [];

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
