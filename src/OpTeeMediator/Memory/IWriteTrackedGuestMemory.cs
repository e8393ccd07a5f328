namespace OpTeeMediator.Memory;

/// <summary>Guest memory that wants to know which pages are written behind its back, for a VMM that moves running VMs
/// (dirty page tracking).</summary>
/// <remarks>
/// <para>The memory sees by itself what <see cref="IGuestMemory.TryWrite"/> writes, and KVM tells it what vCPUs write.
/// The rest is reported here, always after the write and before the guest hears of it: writes through a window
/// (<see cref="IMappedGuestMemory.TryGetWindow"/>), and what a TEE may have written to memory that it has mapped itself
/// (<see cref="Backends.TeeSharedMemory.TryGetHostAddress"/>, <see cref="Backends.TeeSharedMemory.TryGetFile"/>): the
/// outputs of an operation when it ends, a buffer when it is given back, and both for all operations in flight when the
/// VM is paused. More may be reported than was written, never less.</para>
/// <para>So a page that is copied after tracking has begun, and again each time that it was written, by KVM's log or by
/// this, until the VM is paused and its vCPUs have stopped, is the same in the end.</para>
/// <para>Thread-safe, called on any thread, with no lock of the library held. Not to block, nor to throw.</para>
/// </remarks>
public interface IWriteTrackedGuestMemory : IGuestMemory
{
    /// <summary>Part of the memory may have been written.</summary>
    /// <param name="range">The bytes; they may be no guest RAM any more.</param>
    void NotifyWritten(GuestRange range);
}
