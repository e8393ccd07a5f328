using OpTeeMediator.Memory;

namespace OpTeeMediator.Testing;

/// <summary>Guest memory that lets a test act before and after each access: another vCPU that writes meanwhile,
/// or a VMM that fails.</summary>
public sealed class HookedGuestMemory(IMappedGuestMemory inner) : IMappedGuestMemory
{
    private int _accesses;

    /// <summary>Called before each access, with its number from 1 on.</summary>
    public Action<int>? Before { get; set; }

    /// <summary>Called after each access, with its number from 1 on.</summary>
    public Action<int>? After { get; set; }

    public int Accesses => Volatile.Read(ref _accesses);

    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        int number = Begin();
        bool isRead = inner.TryRead(address, destination);
        After?.Invoke(number);
        return isRead;
    }

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        int number = Begin();
        bool isWritten = inner.TryWrite(address, source);
        After?.Invoke(number);
        return isWritten;
    }

    public bool TryPin(GuestPages pages)
    {
        int number = Begin();
        bool isPinned = inner.TryPin(pages);
        After?.Invoke(number);
        return isPinned;
    }

    public void Unpin(GuestPages pages)
    {
        int number = Begin();
        inner.Unpin(pages);
        After?.Invoke(number);
    }

    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window)
    {
        int number = Begin();
        bool isMapped = inner.TryGetWindow(address, length, out window);
        After?.Invoke(number);
        return isMapped;
    }

    public bool TryGetHostAddress(GuestRange range, out nint hostAddress)
    {
        int number = Begin();
        bool isMapped = inner.TryGetHostAddress(range, out hostAddress);
        After?.Invoke(number);
        return isMapped;
    }

    private int Begin()
    {
        int number = Interlocked.Increment(ref _accesses);
        Before?.Invoke(number);
        return number;
    }
}
