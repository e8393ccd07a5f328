using System.Runtime.InteropServices;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>Guest memory of which one call fails, before it has done anything.</summary>
public sealed class FailingGuestMemory(IGuestMemory inner, FailurePlan plan) : IMappedGuestMemory,
IFileBackedGuestMemory
{
    public int MappingGranule
    {
        get
        {
            plan.Enter(nameof(MappingGranule));
            return (inner as IFileBackedGuestMemory)?.MappingGranule ?? 0;
        }
    }

    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        plan.Enter(nameof(TryRead));
        return inner.TryRead(address, destination);
    }

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        plan.Enter(nameof(TryWrite));
        return inner.TryWrite(address, source);
    }

    public bool TryPin(GuestPages pages)
    {
        plan.Enter(nameof(TryPin));
        return inner.TryPin(pages);
    }

    public void Unpin(GuestPages pages)
    {
        plan.Enter(nameof(Unpin));
        inner.Unpin(pages);
    }

    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window)
    {
        plan.Enter(nameof(TryGetWindow));
        window = default;
        return inner is IMappedGuestMemory mapped && mapped.TryGetWindow(address, length, out window);
    }

    public bool TryGetHostAddress(GuestRange range, out nint hostAddress)
    {
        plan.Enter(nameof(TryGetHostAddress));
        hostAddress = 0;
        return inner is IMappedGuestMemory mapped && mapped.TryGetHostAddress(range, out hostAddress);
    }

    public bool TryGetFile(GuestRange range, out SafeHandle file, out long offset)
    {
        plan.Enter(nameof(TryGetFile));
        file = null!;
        offset = 0;
        return inner is IFileBackedGuestMemory backed && backed.TryGetFile(range, out file, out offset);
    }
}
