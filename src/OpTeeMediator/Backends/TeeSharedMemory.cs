using System.Runtime.InteropServices;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Backends;

/// <summary>A buffer of guest memory that is shared with the TEE, pinned as long as a backend can see it.</summary>
/// <remarks>Seen as one range of bytes from 0 to <see cref="Size"/>, whatever its pages are. The guest changes the
/// content at any time. Thread-safe.</remarks>
public abstract class TeeSharedMemory
{
    private protected TeeSharedMemory()
    {
    }

    /// <summary>The size in bytes.</summary>
    public abstract ulong Size { get; }

    /// <summary>Whether the buffer exists for one operation only. A backend is told of the others by
    /// <see cref="ITeePartition.RegisterMemoryAsync"/>.</summary>
    public abstract bool IsTemporary { get; }

    /// <summary>The backend's own record of the buffer, such as its registration with another TEE. The mediator clears
    /// it when the buffer goes.</summary>
    public object? BackendState { get; set; }

    /// <summary>Copies out of the buffer.</summary>
    /// <param name="offset">Where to begin, in bytes.</param>
    /// <param name="destination">Receives the bytes; its content is undefined on failure.</param>
    /// <returns><see langword="false"/> if the range leaves the buffer.</returns>
    public abstract bool TryRead(ulong offset, Span<byte> destination);

    /// <summary>Copies into the buffer.</summary>
    /// <param name="offset">Where to begin, in bytes.</param>
    /// <param name="source">The bytes to write.</param>
    /// <returns><see langword="false"/>, with nothing written, if the range leaves the buffer.</returns>
    public abstract bool TryWrite(ulong offset, ReadOnlySpan<byte> source);

    /// <summary>The longest piece at <paramref name="offset"/> that is contiguous in the VMM's address space.</summary>
    /// <param name="offset">Where to begin, in bytes, below <see cref="Size"/>.</param>
    /// <param name="hostAddress">The host virtual address; valid while the buffer is shared.</param>
    /// <param name="length">The length of the piece in bytes, at least 1.</param>
    /// <returns><see langword="false"/> if the guest memory is not mapped (<see cref="IMappedGuestMemory"/>).</returns>
    public abstract bool TryGetHostAddress(ulong offset, out nint hostAddress, out ulong length);

    /// <summary>The longest piece at <paramref name="offset"/> that is contiguous in a file.</summary>
    /// <param name="offset">Where to begin, in bytes, below <see cref="Size"/>.</param>
    /// <param name="file">The file, mapped shared; owned by the guest memory.</param>
    /// <param name="fileOffset">Where the piece begins in the file, in bytes.</param>
    /// <param name="length">The length of the piece in bytes, at least 1.</param>
    /// <returns><see langword="false"/> without a file (<see cref="IFileBackedGuestMemory"/>).</returns>
    public abstract bool TryGetFile(ulong offset, out SafeHandle file, out long fileOffset, out ulong length);

    /// <summary>The smallest piece of a file that can be mapped by itself, in bytes; 0 without a file.</summary>
    public abstract int MappingGranule { get; }
}
