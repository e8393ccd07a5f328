using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Guest RAM that the VMM has mapped into this process.</summary>
/// <remarks>
/// <para>For a VMM with memory of its own: it names its regions and needs no <see cref="IGuestMemory"/> of its own. A
/// region with a file behind it can share scattered pages with the host's TEE without a copy. For memory that the
/// library makes itself see <see cref="MemfdGuestMemory"/>.</para>
/// <para>The VMM owns memory and files. The host addresses of every region stay mapped for reading and writing until
/// this object is disposed of, even after the region was removed, because another thread may be in the middle of a
/// copy; their content may be replaced (mmap with MAP_FIXED). An access to addresses that are not mapped, or to a page
/// that the host cannot supply (a file that was shortened, a poisoned page), is a SIGSEGV or SIGBUS that ends the
/// process: no managed code can catch it. A hole in a file is no such case; the kernel fills it with a page of
/// zeroes.</para>
/// <para>Thread-safe. A naturally aligned access of 1, 2, 4 or 8 bytes is single: neither side ever sees half of it.
/// Longer ones are copied piece by piece while the guest may write.</para>
/// <para>Dispose of it when no vCPU runs any more and no thread uses it or a window on it. There is no finalizer: guest
/// RAM may be in use by the kernel where the garbage collector sees nothing.</para>
/// </remarks>
[SuppressMessage(
    "Design", "CA1063:Implement IDisposable correctly", Justification = "No finalizer, and no derived class outside.")]
public unsafe class MappedGuestMemory : IMappedGuestMemory, IFileBackedGuestMemory, IDisposable
{
    /// <summary>The highest number of regions: they are searched one by one, and machines have two or three.</summary>
    public const int MaximumRegions = 64;

    /// <summary>The largest region in bytes: 64 TiB, half of what a process can address on x86-64.</summary>
    public const ulong MaximumRegionLength = 1UL << 46;

    private readonly PinSet _pins = new();
    private readonly Action<MappedMemoryRegion>? _regionReleased;

    // Regions that are no guest RAM any more and still have their memory, because they are pinned or held.
    private readonly List<MappedRegion> _pinnedRemains = [];

    private volatile RegionTable _table = RegionTable.Empty;
    private volatile int _pinnedRemainsCount;
    private volatile bool _isDiscarding;

    private protected MappedGuestMemory(
        string name, int mappingGranule, ILogger logger, Action<MappedMemoryRegion>? regionReleased)
    {
        Name = name;
        MappingGranule = mappingGranule;
        Logger = logger;
        _regionReleased = regionReleased;
    }

    /// <inheritdoc/>
    public int MappingGranule { get; }

    /// <summary>The regions as they are now, in the order of their guest addresses.</summary>
    public ImmutableArray<MappedMemoryRegion> Regions => Describe(_table.Regions);

    private protected Lock RegionsLock { get; } = new();

    private protected string Name { get; }

    private protected ILogger Logger { get; }

    private protected bool IsDisposed { get; private set; }

    /// <inheritdoc cref="Create(MappedGuestMemoryOptions, ReadOnlySpan{MappedMemoryRegion})"
    ///   path="/*[not(self::summary)]"/>
    /// <summary>Describes guest RAM of ordinary pages.</summary>
    public static MappedGuestMemory Create(params ReadOnlySpan<MappedMemoryRegion> regions) =>
        Create(new MappedGuestMemoryOptions(), regions);

    /// <summary>Describes guest RAM.</summary>
    /// <param name="options">What kind of pages, and where to log.</param>
    /// <param name="regions">The regions, at most <see cref="MaximumRegions"/>, which overlap neither in guest nor in
    /// host addresses; guest address, length, host address and file offset are multiples of
    /// <see cref="MappingGranule"/>.</param>
    /// <exception cref="ArgumentNullException"><paramref name="options"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">A region is empty, misaligned, too large, not mapped at a possible address,
    /// or overlaps another; or there are too many; or an option is wrong.</exception>
    public static MappedGuestMemory Create(
        MappedGuestMemoryOptions options, params ReadOnlySpan<MappedMemoryRegion> regions)
    {
        ArgumentNullException.ThrowIfNull(options);
        MappedGuestMemory memory = new(
            options.Name, options.CheckGranule(), CreateLogger(options.LoggerFactory), options.RegionReleased);
        foreach (MappedMemoryRegion region in regions)
        {
            memory.AddRegion(region);
        }

        return memory;
    }

    /// <summary>Adds guest RAM at run time (hotplug). KVM learns of it by <c>KvmVm.SetMemoryRegion</c>.</summary>
    /// <param name="region">The region; guest address, length, host address and file offset are multiples of
    /// <see cref="MappingGranule"/>.</param>
    /// <exception cref="ArgumentException">The region is empty, misaligned, too large or at no possible address; or
    /// overlaps another one, or one that was removed and is pinned; or there are too many.</exception>
    /// <exception cref="ObjectDisposedException">The memory is disposed of.</exception>
    public void AddRegion(MappedMemoryRegion region)
    {
        Check(region.Range);
        CheckHost(region);
        lock (RegionsLock)
        {
            int index = FindPlace(region.Range);
            MappedRegion added = new(region.Range, region.HostAddress, region.File, region.FileOffset);
            foreach (MappedRegion other in (MappedRegion[])[.. _table.Regions, .. _pinnedRemains])
            {
                if (added.HostRange.Overlaps(other.HostRange))
                {
                    throw new ArgumentException(
                        $"Region {region.Range} has host addresses {added.HostRange}, which overlap those of region"
                            + $" {other.Range}, {other.HostRange}.",
                        nameof(region));
                }
            }

            Insert(index, added);
        }
    }

    /// <summary>Takes guest RAM away at run time. Take it away from KVM and the guest first.</summary>
    /// <param name="start">The first address of the region.</param>
    /// <returns><see langword="true"/> if its memory is free now; <see langword="false"/> if a page of it is pinned: it
    /// is freed with its last pin.</returns>
    /// <exception cref="ArgumentException">No region begins there.</exception>
    /// <exception cref="InvalidOperationException">An <c>OpTeeCompanion</c> has mapped it: dispose of it.</exception>
    /// <exception cref="ObjectDisposedException">The memory is disposed of.</exception>
    /// <remarks>In both cases its addresses are no guest RAM any more when the method returns. The host addresses must
    /// stay mapped (see the class); the memory behind them may be used for something else, when the method has answered
    /// <see langword="true"/> or after <see cref="MappedGuestMemoryOptions.RegionReleased"/>.</remarks>
    public bool RemoveRegion(GuestAddress start)
    {
        lock (RegionsLock)
        {
            ObjectDisposedException.ThrowIf(IsDisposed, this);
            MappedRegion[] regions = _table.Regions.ToArray();
            int index = Array.FindIndex(regions, region => region.Range.Start == start);
            if (index < 0)
            {
                throw new ArgumentException($"No region begins at {start}.", nameof(start));
            }

            MappedRegion removed = regions[index];
            if (removed.Holds != 0)
            {
                // OP-TEE would use memory that is no longer the guest's, and miss what is added there later.
                throw new InvalidOperationException(
                    $"Region {removed.Range} is mapped into the VM of an OpTeeCompanion; dispose of the companion"
                        + " before the region is removed.");
            }

            Retire([removed], new RegionTable([.. regions[..index], .. regions[(index + 1)..]]));
            bool isFree = !_pinnedRemains.Contains(removed);
            if (!isFree)
            {
                Logger.RegionRemovalDeferred(removed.Range, Name);
            }

            return isFree;
        }
    }

    /// <summary>Gives memory back that the guest does not need (balloon, say); the range reads as zero.</summary>
    /// <param name="range">The guest addresses.</param>
    /// <returns><see langword="false"/>, with nothing done, if the range is empty, not all guest RAM, not aligned to
    /// <see cref="MappingGranule"/>, or a page of it is pinned because it is shared with a TEE.</returns>
    /// <exception cref="SystemCallException">The host failed, as for a private mapping of a file.</exception>
    public bool TryDiscard(GuestRange range)
    {
        ulong granule = (ulong)MappingGranule;
        if (range.Length == 0 || !range.Start.IsAligned(granule) || range.Length % granule != 0)
        {
            return false;
        }

        lock (RegionsLock)
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
            return table.TryRead(address.Value, destination);
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
            return table.TryWrite(address.Value, source);
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
        if (_table.TryFindRegion(range, out MappedRegion? region) && region.File is not null)
        {
            file = region.File;
            offset = region.OffsetOf(range.Start);
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
            lock (RegionsLock)
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
            lock (RegionsLock)
            {
                FreeUnpinned();
            }
        }
    }

    /// <summary>Ends the use of the memory; what is pinned, with its last pin.</summary>
    [SuppressMessage(
        "Usage", "CA1816:Dispose methods should call SuppressFinalize", Justification = "There is no finalizer.")]
    public void Dispose()
    {
        lock (RegionsLock)
        {
            if (IsDisposed)
            {
                return;
            }

            IsDisposed = true;
            OnDisposing();
            Retire(_table.Regions, RegionTable.Empty);
            if (_pinnedRemains.Count != 0)
            {
                Logger.UnmapDeferred(Name, _pinnedRemains.Count, _pins.Count);
            }
        }
    }

    /// <summary>Keeps the present regions as they are while another VM maps them, until disposal.</summary>
    internal IDisposable Hold(out ImmutableArray<MappedMemoryRegion> regions)
    {
        lock (RegionsLock)
        {
            ObjectDisposedException.ThrowIf(IsDisposed, this);
            MappedRegion[] held = _table.Regions.ToArray();
            foreach (MappedRegion region in held)
            {
                region.Holds++;
            }

            regions = Describe(held);
            return new RegionHold(this, held);
        }
    }

    private protected static ILogger CreateLogger(ILoggerFactory factory)
    {
        ArgumentNullException.ThrowIfNull(factory, nameof(MappedGuestMemoryOptions.LoggerFactory));
        return NonThrowingLogger.CreateForVm<MappedGuestMemory>(factory);
    }

    private protected void Check(GuestRange range)
    {
        ulong granule = (ulong)MappingGranule;
        if (range.Length is 0 or > MaximumRegionLength || !range.Start.IsAligned(granule)
            || range.Length % granule != 0)
        {
            throw new ArgumentException(
                $"Region {range} has {range.Length} bytes; expected 1 to {MaximumRegionLength}, start and length"
                    + $" being multiples of {granule}.",
                nameof(range));
        }
    }

    /// <summary>Finds where in the table a region belongs. Under the lock.</summary>
    private protected int FindPlace(GuestRange range)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        ReadOnlySpan<MappedRegion> regions = _table.Regions;
        if (regions.Length == MaximumRegions)
        {
            throw new ArgumentException(
                $"There are {MaximumRegions} regions already, the highest number.", nameof(range));
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
                throw new ArgumentException(
                    $"Region {range} overlaps {other.Range}, which was removed but is still shared with a TEE; try"
                        + " again later.",
                    nameof(range));
            }
        }

        return index;
    }

    /// <summary>Makes a region guest RAM. Under the lock.</summary>
    private protected void Insert(int index, MappedRegion region)
    {
        ReadOnlySpan<MappedRegion> regions = _table.Regions;
        _table = new RegionTable([.. regions[..index], region, .. regions[index..]]);
    }

    /// <summary>Frees what only a derived class has. Under the lock.</summary>
    private protected virtual void OnDisposing()
    {
    }

    /// <summary>Frees the memory of a region that is neither guest RAM nor pinned any more. Under the lock.</summary>
    private protected virtual void Release(MappedRegion region)
    {
        if (_regionReleased is not null && region.IsDeferred)
        {
            // On another thread: the VMM may call this object, whose lock this thread has.
            _ = ThreadPool.UnsafeQueueUserWorkItem(Notify, Describe(region), preferLocal: false);
        }
    }

    private static ImmutableArray<MappedMemoryRegion> Describe(ReadOnlySpan<MappedRegion> regions) =>
        [.. regions.ToArray().Select(Describe)];

    private static MappedMemoryRegion Describe(MappedRegion region) =>
        new(region.Range, region.Address, region.File, region.FileOffset);

    private void CheckHost(MappedMemoryRegion region)
    {
        // User space has half of the addresses at the most.
        ulong granule = (ulong)MappingGranule;
        ulong highest = (ulong)nint.MaxValue - region.Range.Length;
        ulong address = (ulong)region.HostAddress;
        if (address == 0 || address > highest || address % granule != 0)
        {
            throw new ArgumentException(
                $"Region {region.Range} has host address 0x{address:x}; expected a multiple of {granule} at which"
                    + $" {region.Range.Length} bytes of a process can be mapped.",
                nameof(region));
        }

        ulong offset = (ulong)region.FileOffset;
        if (offset > highest || offset % granule != 0 || (region.File is null && offset != 0))
        {
            throw new ArgumentException(
                $"Region {region.Range} has file offset 0x{offset:x}; expected a multiple of {granule} at which"
                    + $" {region.Range.Length} bytes of a file can lie, and 0 without a file.",
                nameof(region));
        }
    }

    /// <summary>Publishes a table without some regions and frees those that are not pinned.</summary>
    /// <remarks>The order matters, see <see cref="PinSet"/>: the new table and the count first, then the question for
    /// pins. A pin that is not seen here will see the new table; an unpin that is not seen here will see the
    /// count.</remarks>
    private void Retire(ReadOnlySpan<MappedRegion> regions, RegionTable table)
    {
        _table = table;
        _pinnedRemains.AddRange(regions);
        _pinnedRemainsCount = _pinnedRemains.Count;
        FreeUnpinned();
        _pinnedRemains.ForEach(region => region.IsDeferred = true);
    }

    private void FreeUnpinned()
    {
        for (int index = _pinnedRemains.Count - 1; index >= 0; index--)
        {
            MappedRegion region = _pinnedRemains[index];
            if (region.Holds == 0 && !_pins.Overlaps(region.Range))
            {
                _pinnedRemains.RemoveAt(index);
                Release(region);
            }
        }

        _pinnedRemainsCount = _pinnedRemains.Count;
    }

    private void Notify(MappedMemoryRegion region)
    {
        try
        {
            _regionReleased!(region);
        }
        catch (Exception exception)
        {
            Logger.RegionReleasedFailed(region.Range, Name, exception);
        }
    }

    private sealed class RegionHold(MappedGuestMemory memory, MappedRegion[] regions) : IDisposable
    {
        private bool _isDisposed;

        public void Dispose()
        {
            lock (memory.RegionsLock)
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
