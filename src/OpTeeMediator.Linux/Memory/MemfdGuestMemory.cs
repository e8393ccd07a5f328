using System.Text;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Diagnostics;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Guest RAM in memory files (memfd), which this object creates and maps shared into this process.</summary>
/// <remarks>
/// <para>All a VMM needs to give KVM and the mediator the same memory: mapped, so that nothing is copied through an
/// interface, and backed by files, so that scattered pages can be shared with the host's TEE without a copy.</para>
/// <para>The host addresses of a removed region stay reserved for regions that are added later: a thread that still
/// uses a window reads zeroes and writes nowhere, or uses such a region, and never other memory.</para>
/// <para>Thread-safe, as <see cref="MappedGuestMemory"/> is. Memory of the VMM's own may be added too.</para>
/// </remarks>
public sealed class MemfdGuestMemory : MappedGuestMemory
{
    private readonly int _hugePageSize;

    // Removed regions that the kernel would not free, and the addresses of all others.
    private readonly List<MappedRegion> _unfreed = [];
    private readonly ReservedAddresses _reserved = new();

    private MemfdGuestMemory(MemfdGuestMemoryOptions options)
        : base(
            options.Name, options.HugePageSize == 0 ? Environment.SystemPageSize : options.HugePageSize,
            CreateLogger(options.LoggerFactory), regionReleased: null) => _hugePageSize = options.HugePageSize;

    /// <inheritdoc cref="Create(MemfdGuestMemoryOptions, ReadOnlySpan{GuestRange})" path="/*[not(self::summary)]"/>
    /// <summary>Creates guest RAM of ordinary pages.</summary>
    public static MemfdGuestMemory Create(params ReadOnlySpan<GuestRange> regions) =>
        Create(new MemfdGuestMemoryOptions(), regions);

    /// <summary>Creates guest RAM.</summary>
    /// <param name="options">What kind of pages, and where to log.</param>
    /// <param name="regions">The guest addresses, at most <see cref="MappedGuestMemory.MaximumRegions"/> ranges that do
    /// not overlap; start and length are multiples of the page size.</param>
    /// <returns>The memory, all zero.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="options"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">A region is empty, misaligned, too large, or overlaps another; or there are
    /// too many; or an option is wrong.</exception>
    /// <exception cref="SystemCallException">The host has no such memory; the message says what to do.</exception>
    public static MemfdGuestMemory Create(MemfdGuestMemoryOptions options, params ReadOnlySpan<GuestRange> regions)
    {
        ArgumentNullException.ThrowIfNull(options);
        CheckName(options.Name);
        if (options.HugePageSize != 0
            && (options.HugePageSize < Environment.SystemPageSize || !int.IsPow2(options.HugePageSize)))
        {
            throw new ArgumentException(
                $"{nameof(options.HugePageSize)} is {options.HugePageSize}; expected 0 or a power of two of at"
                    + $" least {Environment.SystemPageSize}.",
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

    /// <summary>Adds guest RAM at run time (hotplug). KVM learns of it by <c>KvmVm.SetMemoryRegion</c>.</summary>
    /// <param name="range">The guest addresses; start and length are multiples of
    /// <see cref="MappedGuestMemory.MappingGranule"/>.</param>
    /// <returns>The region, all zero.</returns>
    /// <exception cref="ArgumentException">The range is empty, misaligned or too large, overlaps another region, or one
    /// that was removed and is still pinned; or there are too many regions.</exception>
    /// <exception cref="SystemCallException">The host has no such memory.</exception>
    /// <exception cref="ObjectDisposedException">The memory is disposed of.</exception>
    public MappedMemoryRegion AddRegion(GuestRange range)
    {
        Check(range);
        lock (RegionsLock)
        {
            int index = FindPlace(range);
            MappedRegion added = MemoryFile.Create(range, Name, _hugePageSize, _reserved.TryTake((nuint)range.Length));
            Insert(index, added);
            return new MappedMemoryRegion(range, added.Address, added.File, added.FileOffset);
        }
    }

    private protected override void OnDisposing()
    {
        _unfreed.ForEach(MemoryFile.Unmap);
        _unfreed.Clear();
        _reserved.Unmap();
    }

    private protected override void Release(MappedRegion region)
    {
        if (!region.IsOwned)
        {
            base.Release(region);
        }
        else if (IsDisposed)
        {
            MemoryFile.Unmap(region);
        }
        else if (MemoryFile.TryReplaceByNothing(region))
        {
            _reserved.Add(region.Address, (nuint)region.Range.Length);
        }
        else
        {
            _unfreed.Add(region);
            Logger.RegionNotFreed(region.Range, Name, new ErrorName(Errno.Last));
        }
    }

    private static void CheckName(string name)
    {
        // NAME_MAX without the kernel's own prefix, "memfd:".
        const int LongestName = 249;
        const string Option = $"{nameof(MemfdGuestMemoryOptions)}.{nameof(MemfdGuestMemoryOptions.Name)}";
        ArgumentNullException.ThrowIfNull(name, Option);
        int length = Encoding.UTF8.GetByteCount(name);
        if (length > LongestName || name.Contains('\0'))
        {
            throw new ArgumentException(
                $"{Option} has {length} bytes as UTF-8; expected at most {LongestName}, and no character NUL.",
                nameof(name));
        }
    }
}
