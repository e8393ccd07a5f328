using System.Collections.Immutable;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Diagnostics;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Guest RAM in memory files (memfd), mapped shared into this process.</summary>
/// <remarks>
/// <para>All a VMM needs to give KVM and the mediator the same memory: mapped, so that nothing is copied through an interface, and backed by files, so
/// that scattered pages can be shared with the host's TEE without a copy.</para>
/// <para>Thread-safe. A naturally aligned access of 1, 2, 4 or 8 bytes is single: neither side ever sees half of it. Longer ones are copied piece by
/// piece while the guest may write.</para>
/// <para>Dispose of it when no vCPU runs any more and no thread uses it or a window on it. There is no finalizer: guest RAM may be in use by the kernel
/// where the garbage collector sees nothing.</para>
/// </remarks>
public sealed unsafe class MemfdGuestMemory : IMappedGuestMemory, IFileBackedGuestMemory, IDisposable
{
    /// <summary>The highest number of regions: they are searched one by one, and machines have two or three.</summary>
    public const int MaximumRegions = 64;

    /// <summary>The largest region in bytes: 64 TiB, half of what a process can address on x86-64.</summary>
    public const ulong MaximumRegionLength = 1UL << 46;

    private readonly Lock _gate = new();
    private readonly PinSet _pins = new();
    private readonly string _name;
    private readonly int _hugePageSize;
    private readonly ILogger _logger;

    // Regions that are no guest RAM any more: pinned or held ones that still have their memory, those that the kernel would not free, and the addresses of
    // all others.
    private readonly List<MappedRegion> _pinnedRemains = [];
    private readonly List<MappedRegion> _unfreed = [];
    private readonly ReservedAddresses _reserved = new();

    private volatile RegionTable _table = RegionTable.Empty;
    private volatile int _pinnedRemainsCount;
    private volatile bool _isDiscarding;
    private bool _isDisposed;

    private MemfdGuestMemory(MemfdGuestMemoryOptions options)
    {
        _name = options.Name;
        _hugePageSize = options.HugePageSize;
        _logger = NonThrowingLogger.Create<MemfdGuestMemory>(options.LoggerFactory);
        MappingGranule = _hugePageSize == 0 ? Environment.SystemPageSize : _hugePageSize;
    }

    /// <inheritdoc/>
    public int MappingGranule { get; }

    /// <summary>The regions as they are now, in the order of their guest addresses.</summary>
    public ImmutableArray<MemfdRegion> Regions
    {
        get
        {
            ImmutableArray<MemfdRegion>.Builder regions = ImmutableArray.CreateBuilder<MemfdRegion>();
            foreach (MappedRegion region in _table.Regions)
            {
                regions.Add(new MemfdRegion(region.Range, region.Address));
            }

            return regions.DrainToImmutable();
        }
    }

    /// <summary>Creates guest RAM of ordinary pages.</summary>
    /// <param name="regions">
    /// The guest addresses, at most <see cref="MaximumRegions"/> ranges that do not overlap; start and length are multiples of the host's page size.
    /// </param>
    /// <returns>The memory, all zero.</returns>
    /// <exception cref="ArgumentException">A region is empty, misaligned, too large, or overlaps another; or there are too many.</exception>
    /// <exception cref="SystemCallException">The host has no such memory; the message says what to do.</exception>
    public static MemfdGuestMemory Create(params ReadOnlySpan<GuestRange> regions) => Create(new MemfdGuestMemoryOptions(), regions);

    /// <summary>Creates guest RAM.</summary>
    /// <param name="options">What kind of pages, and where to log.</param>
    /// <param name="regions">
    /// The guest addresses, at most <see cref="MaximumRegions"/> ranges that do not overlap; start and length are multiples of the page size.
    /// </param>
    /// <returns>The memory, all zero.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="options"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">A region is empty, misaligned, too large, or overlaps another; or there are too many; or an option is wrong.</exception>
    /// <exception cref="SystemCallException">The host has no such memory; the message says what to do.</exception>
    public static MemfdGuestMemory Create(MemfdGuestMemoryOptions options, params ReadOnlySpan<GuestRange> regions)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(options.LoggerFactory, $"{nameof(options)}.{nameof(options.LoggerFactory)}");
        CheckName(options.Name);
        if (options.HugePageSize != 0 && (options.HugePageSize < Environment.SystemPageSize || !int.IsPow2(options.HugePageSize)))
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"{nameof(options.HugePageSize)} is {options.HugePageSize}; expected 0 or a power of two of at least {Environment.SystemPageSize}."),
                nameof(options));
        }

        MemfdGuestMemory memory = new(options);
        try
        {
            foreach (GuestRange region in regions)
            {
                _ = memory.AddRegion(region);
            }

            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>Adds guest RAM at run time (memory hotplug). KVM learns of it by <c>KvmVm.SetMemoryRegion</c>.</summary>
    /// <param name="range">The guest addresses; start and length are multiples of <see cref="MappingGranule"/>.</param>
    /// <returns>The region, all zero.</returns>
    /// <exception cref="ArgumentException">
    /// The range is empty, misaligned or too large, overlaps another region, or one that was removed and is still pinned; or there are too many regions.
    /// </exception>
    /// <exception cref="SystemCallException">The host has no such memory.</exception>
    /// <exception cref="ObjectDisposedException">The memory is disposed of.</exception>
    public MemfdRegion AddRegion(GuestRange range)
    {
        Check(range);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            ReadOnlySpan<MappedRegion> regions = _table.Regions;
            if (regions.Length == MaximumRegions)
            {
                throw new ArgumentException($"There are {MaximumRegions} regions already, the highest number.", nameof(range));
            }

            int index = 0;
            foreach (MappedRegion other in regions)
            {
                if (other.Range.Overlaps(range))
                {
                    throw new ArgumentException($"Region {range} overlaps {other.Range}.", nameof(range));
                }

                index += other.Range.Start < range.Start ? 1 : 0;
            }

            foreach (MappedRegion other in _pinnedRemains)
            {
                if (other.Range.Overlaps(range))
                {
                    throw new ArgumentException($"Region {range} overlaps {other.Range}, which was removed but is still shared with a TEE; try again later.", nameof(range));
                }
            }

            MappedRegion added = MappedRegion.Create(range, _name, _hugePageSize, _reserved.TryTake((nuint)range.Length));
            _table = new RegionTable([.. regions[..index], added, .. regions[index..]]);
            return new MemfdRegion(range, added.Address);
        }
    }

    /// <summary>Takes guest RAM away at run time. Take it away from KVM and the guest first.</summary>
    /// <param name="start">The first address of the region.</param>
    /// <returns>
    /// <see langword="true"/> if its memory is free now; <see langword="false"/> if a page of it is pinned: it is freed with its last pin.
    /// </returns>
    /// <exception cref="ArgumentException">No region begins there.</exception>
    /// <exception cref="InvalidOperationException">An <see cref="OpTeeCompanion"/> has mapped it into its VM: dispose of that first.</exception>
    /// <exception cref="ObjectDisposedException">The memory is disposed of.</exception>
    /// <remarks>
    /// In both cases its addresses are no guest RAM any more when the method returns. The host addresses stay reserved for regions that are added later: a
    /// thread that still uses a window reads zeroes and writes nowhere, or reads and writes such a region, and never other memory of this process.
    /// </remarks>
    public bool RemoveRegion(GuestAddress start)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            MappedRegion[] regions = _table.Regions.ToArray();
            int index = Array.FindIndex(regions, region => region.Range.Start == start);
            if (index < 0)
            {
                throw new ArgumentException($"No region begins at {start}.", nameof(start));
            }

            MappedRegion removed = regions[index];
            if (removed.Holds != 0)
            {
                // OP-TEE would write to memory that the guest no longer has, and to other memory than the guest's once the range is added again.
                throw new InvalidOperationException($"Region {removed.Range} is mapped into the VM of an {nameof(OpTeeCompanion)}; dispose of the companion before the region is removed.");
            }

            Retire([removed], new RegionTable([.. regions[..index], .. regions[(index + 1)..]]));
            bool isFree = !_pinnedRemains.Contains(removed);
            if (!isFree)
            {
                _logger.RegionRemovalDeferred(removed.Range, _name);
            }

            return isFree;
        }
    }

    /// <summary>Gives host memory back that the guest does not need (balloon, free page reporting); the range reads as zero then.</summary>
    /// <param name="range">The guest addresses.</param>
    /// <returns>
    /// <see langword="false"/>, with nothing done, if the range is empty, not all guest RAM, not aligned to <see cref="MappingGranule"/>, or a page of it is
    /// pinned because it is shared with a TEE.
    /// </returns>
    /// <exception cref="SystemCallException">The host failed.</exception>
    public bool TryDiscard(GuestRange range)
    {
        ulong granule = (ulong)MappingGranule;
        if (range.Length == 0 || !range.Start.IsAligned(granule) || range.Length % granule != 0)
        {
            return false;
        }

        lock (_gate)
        {
            RegionTable table = _table;
            if (!table.Covers(range.Start.Value, range.Length))
            {
                return false;
            }

            // From here on TryPin waits; a pin that was faster is seen.
            _isDiscarding = true;
            try
            {
                if (_pins.Overlaps(range))
                {
                    return false;
                }

                foreach (MappedRegion region in table.Regions)
                {
                    ulong start = ulong.Max(range.Start.Value, region.Range.Start.Value);
                    ulong end = ulong.Min(range.End.Value, region.Range.End.Value);
                    if (start < end)
                    {
                        region.Discard(new GuestRange(start, end - start));
                    }
                }

                return true;
            }
            finally
            {
                _isDiscarding = false;
            }
        }
    }

    /// <inheritdoc/>
    [SkipLocalsInit]
    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        RegionTable table = _table;
        byte* source = table.Find(address.Value, (ulong)destination.Length);
        if (source is null)
        {
            return ReadSlowly(table, address, destination);
        }

        // The table says that so many bytes are mapped at the source, and they stay mapped until Dispose.
        ref byte target = ref MemoryMarshal.GetReference(destination);
        switch (destination.Length)
        {
            case sizeof(ulong):
                Unsafe.WriteUnaligned(ref target, Unsafe.ReadUnaligned<ulong>(source));
                break;
            case sizeof(uint):
                Unsafe.WriteUnaligned(ref target, Unsafe.ReadUnaligned<uint>(source));
                break;
            case sizeof(ushort):
                Unsafe.WriteUnaligned(ref target, Unsafe.ReadUnaligned<ushort>(source));
                break;
            default:
                new ReadOnlySpan<byte>(source, destination.Length).CopyTo(destination);
                break;
        }

        return true;
    }

    /// <inheritdoc/>
    [SkipLocalsInit]
    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        RegionTable table = _table;
        byte* target = table.Find(address.Value, (ulong)source.Length);
        if (target is null)
        {
            return WriteSlowly(table, address, source);
        }

        // The table says that so many bytes are mapped at the target, and they stay mapped until Dispose.
        ref byte value = ref MemoryMarshal.GetReference(source);
        switch (source.Length)
        {
            case sizeof(ulong):
                Unsafe.WriteUnaligned(target, Unsafe.ReadUnaligned<ulong>(ref value));
                break;
            case sizeof(uint):
                Unsafe.WriteUnaligned(target, Unsafe.ReadUnaligned<uint>(ref value));
                break;
            case sizeof(ushort):
                Unsafe.WriteUnaligned(target, Unsafe.ReadUnaligned<ushort>(ref value));
                break;
            default:
                source.CopyTo(new Span<byte>(target, source.Length));
                break;
        }

        return true;
    }

    /// <inheritdoc/>
    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window)
    {
        // A negative length becomes a huge one, which no region holds.
        byte* pointer = _table.Find(address.Value, (ulong)(long)length);
        window = pointer is null ? default : new Span<byte>(pointer, length);
        return pointer is not null;
    }

    /// <inheritdoc/>
    public bool TryGetHostAddress(GuestRange range, out nint hostAddress)
    {
        hostAddress = (nint)_table.Find(range.Start.Value, range.Length);
        return hostAddress != 0;
    }

    /// <inheritdoc/>
    public bool TryGetFile(GuestRange range, out SafeHandle file, out long offset)
    {
        if (_table.TryFindRegion(range, out MappedRegion? region))
        {
            file = region.File;
            offset = (long)(range.Start.Value - region.Range.Start.Value);
            return true;
        }

        file = null!;
        offset = 0;
        return false;
    }

    /// <inheritdoc/>
    public bool TryPin(GuestPages pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        _pins.Add(pages);
        if (_isDiscarding)
        {
            // The discard that is going on has not seen this pin: let it finish.
            lock (_gate)
            {
            }
        }

        if (pages.IsWithin(_table.Ranges))
        {
            return true;
        }

        Unpin(pages);
        return false;
    }

    /// <inheritdoc/>
    public void Unpin(GuestPages pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        _ = _pins.Remove(pages);
        if (_pinnedRemainsCount != 0)
        {
            lock (_gate)
            {
                FreeUnpinned();
            }
        }
    }

    /// <summary>Unmaps the memory; what is pinned, with its last pin.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
            foreach (MappedRegion region in _unfreed)
            {
                region.Unmap();
            }

            _unfreed.Clear();
            _reserved.Unmap();
            Retire(_table.Regions, RegionTable.Empty);
            if (_pinnedRemains.Count != 0)
            {
                _logger.UnmapDeferred(_name, _pinnedRemains.Count, _pins.Count);
            }
        }
    }

    /// <summary>Keeps the present regions as they are while another VM maps them.</summary>
    /// <param name="regions">The regions.</param>
    /// <returns>Ends that when it is disposed of.</returns>
    /// <exception cref="ObjectDisposedException">The memory is disposed of.</exception>
    internal IDisposable Hold(out ImmutableArray<MemfdRegion> regions)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            MappedRegion[] held = _table.Regions.ToArray();
            foreach (MappedRegion region in held)
            {
                region.Holds++;
            }

            regions = [.. held.Select(region => new MemfdRegion(region.Range, region.Address))];
            return new RegionHold(this, held);
        }
    }

    private static void CheckName(string name)
    {
        // NAME_MAX without the kernel's own prefix, "memfd:".
        const int LongestName = 249;
        ArgumentNullException.ThrowIfNull(name, $"{nameof(MemfdGuestMemoryOptions)}.{nameof(MemfdGuestMemoryOptions.Name)}");
        int length = Encoding.UTF8.GetByteCount(name);
        if (length > LongestName || name.Contains('\0'))
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"{nameof(MemfdGuestMemoryOptions)}.{nameof(MemfdGuestMemoryOptions.Name)} has {length} bytes as UTF-8; expected at most {LongestName}, and no character NUL."),
                nameof(name));
        }
    }

    private static bool ReadSlowly(RegionTable table, GuestAddress address, Span<byte> destination)
    {
        fixed (byte* buffer = destination)
        {
            return table.TryCopy(address.Value, buffer, (ulong)destination.Length, toGuest: false);
        }
    }

    private static bool WriteSlowly(RegionTable table, GuestAddress address, ReadOnlySpan<byte> source)
    {
        fixed (byte* buffer = source)
        {
            return table.TryCopy(address.Value, buffer, (ulong)source.Length, toGuest: true);
        }
    }

    private void Check(GuestRange range)
    {
        ulong granule = (ulong)MappingGranule;
        if (range.Length == 0 || range.Length > MaximumRegionLength || !range.Start.IsAligned(granule) || range.Length % granule != 0)
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"Region {range} has {range.Length} bytes; expected 1 to {MaximumRegionLength}, start and length being multiples of {granule}."),
                nameof(range));
        }
    }

    /// <summary>Publishes a table without some regions and frees those that are not pinned.</summary>
    /// <remarks>
    /// The order matters, see <see cref="PinSet"/>: the new table and the count first, then the question for pins. A pin that is not seen here will see the
    /// new table; an unpin that is not seen here will see the count.
    /// </remarks>
    private void Retire(ReadOnlySpan<MappedRegion> regions, RegionTable table)
    {
        _table = table;
        _pinnedRemains.AddRange(regions);
        _pinnedRemainsCount = _pinnedRemains.Count;
        FreeUnpinned();
    }

    private void FreeUnpinned()
    {
        for (int index = _pinnedRemains.Count - 1; index >= 0; index--)
        {
            MappedRegion region = _pinnedRemains[index];
            if (region.Holds != 0 || _pins.Overlaps(region.Range))
            {
                continue;
            }

            _pinnedRemains.RemoveAt(index);
            if (_isDisposed)
            {
                region.Unmap();
            }
            else if (region.TryReplaceByNothing())
            {
                _reserved.Add(region.Address, (nuint)region.Range.Length);
            }
            else
            {
                _unfreed.Add(region);
                _logger.RegionNotFreed(region.Range, _name, new ErrorName(Errno.Last));
            }
        }

        _pinnedRemainsCount = _pinnedRemains.Count;
    }

    private sealed class RegionHold(MemfdGuestMemory memory, MappedRegion[] regions) : IDisposable
    {
        private bool _isDisposed;

        public void Dispose()
        {
            lock (memory._gate)
            {
                if (_isDisposed)
                {
                    return;
                }

                _isDisposed = true;
                foreach (MappedRegion region in regions)
                {
                    region.Holds--;
                }

                memory.FreeUnpinned();
            }
        }
    }
}
