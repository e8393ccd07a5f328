using System.Runtime.InteropServices;
using OpTeeMediator.Linux;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Guest memory one of whose calls throws.</summary>
internal sealed class FailingGuestMemory(MemfdGuestMemory memory, FailurePoint point) : IMappedGuestMemory, IFileBackedGuestMemory
{
    public int MappingGranule
    {
        get
        {
            point.Pass();
            return memory.MappingGranule;
        }
    }

    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window)
    {
        point.Pass();
        return memory.TryGetWindow(address, length, out window);
    }

    public bool TryGetHostAddress(GuestRange range, out nint hostAddress)
    {
        point.Pass();
        return memory.TryGetHostAddress(range, out hostAddress);
    }

    public bool TryGetFile(GuestRange range, out SafeHandle file, out long offset)
    {
        point.Pass();
        return memory.TryGetFile(range, out file, out offset);
    }

    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        point.Pass();
        return memory.TryRead(address, destination);
    }

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        point.Pass();
        return memory.TryWrite(address, source);
    }

    public bool TryPin(GuestPages pages) => memory.TryPin(pages);

    public void Unpin(GuestPages pages) => memory.Unpin(pages);
}
