using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using static OpTeeMediator.Tests.Linux.TwoRegions;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Runs tests over memory of the library's and memory of the VMM's.</summary>
public abstract class GuestMemoryFixture(MemoryOwner owner)
{
    // Large enough for any one region of these tests.
    private const int RegionLength = 0x4_0000;

    private readonly List<MemfdGuestMemory> _files = [];
    private readonly List<nint> _mappings = [];

    // A range that is removed and added again gets the same memory, as tests do so many times.
    private readonly Dictionary<GuestRange, MappedMemoryRegion> _regions = [];

    private protected MemoryOwner Owner => owner;

    [TearDown]
    public void FreeMemoryOfTheVmm()
    {
        _files.ForEach(file => file.Dispose());
        _files.Clear();
        _mappings.ForEach(address => _ = LibC.Unmap(address, RegionLength));
        _mappings.Clear();
        _regions.Clear();
    }

    private protected MappedGuestMemory Create(params GuestRange[] ranges) =>
        Create(NullLoggerFactory.Instance, ranges);

    private protected MappedGuestMemory Create(ILoggerFactory log, params GuestRange[] ranges) =>
        owner == MemoryOwner.Library
            ? MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = log }, ranges)
            : MappedGuestMemory.Create(
                new MappedGuestMemoryOptions { LoggerFactory = log }, [.. ranges.Select(MapInVmm)]);

    private protected MappedMemoryRegion Add(MappedGuestMemory memory, GuestRange range)
    {
        if (memory is MemfdGuestMemory library)
        {
            return library.AddRegion(range);
        }

        MappedMemoryRegion region = MapInVmm(range);
        memory.AddRegion(region);
        return region;
    }

    /// <summary>Maps memory that is all zero, as a VMM does.</summary>
    private protected MappedMemoryRegion MapInVmm(GuestRange range)
    {
        if (range.Length is 0 or > RegionLength || range.Length % Size != 0)
        {
            // It is to be refused, before the host address is looked at.
            return new MappedMemoryRegion(range, (nint)Size);
        }

        if (!_regions.TryGetValue(range, out MappedMemoryRegion region))
        {
            region = owner == MemoryOwner.VmmWithFiles ? MapFile(range) : MapAnonymous(range);
            _regions.Add(range, region);
        }

        return region;
    }

    // The region lies in the second half of the file, so that the offset counts.
    private MappedMemoryRegion MapFile(GuestRange range)
    {
        MemfdGuestMemory file = MemfdGuestMemory.Create(new GuestRange(0, range.Length * 2));
        _files.Add(file);
        MappedMemoryRegion whole = file.Regions[0];
        return new MappedMemoryRegion(range, whole.HostAddress + (nint)range.Length, whole.File, (long)range.Length);
    }

    private MappedMemoryRegion MapAnonymous(GuestRange range)
    {
        nint address = LibC.Map(
            0, RegionLength, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS, -1, 0);
        Assert.That(address, Is.Not.EqualTo(LibC.MapFailed), () => Errno.TextOf(Errno.Last));
        _mappings.Add(address);
        return new MappedMemoryRegion(range, address);
    }
}
