using System.Runtime.InteropServices;

namespace OpTeeMediator.Memory;

/// <summary>Guest memory with a file behind it (memfd, hugetlbfs): scattered pages can be mapped again.</summary>
/// <remarks>Thread-safe like <see cref="IGuestMemory"/>.</remarks>
public interface IFileBackedGuestMemory : IGuestMemory
{
    /// <summary>The smallest piece that can be mapped by itself, in bytes: a page, or a huge page.</summary>
    int MappingGranule { get; }

    /// <summary>Finds the file behind guest memory.</summary>
    /// <param name="range">The guest range.</param>
    /// <param name="file">The file, mapped shared; owned by the guest memory, valid while the range is pinned.</param>
    /// <param name="offset">Where the range begins in the file, in bytes.</param>
    /// <returns><see langword="false"/> if the range is not guest RAM, or not contiguous in one file.</returns>
    bool TryGetFile(GuestRange range, out SafeHandle file, out long offset);
}
