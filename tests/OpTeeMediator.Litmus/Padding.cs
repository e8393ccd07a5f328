using System.Runtime.InteropServices;

namespace OpTeeMediator.Litmus;

/// <summary>Keeps objects that are created one after the other in different cache lines.</summary>
internal sealed class Padding
{
    private const int Length = 256;

    private readonly List<byte[]> _between = [];
    private readonly List<GCHandle> _pins = [];

    /// <summary>Creates an object with nothing of others beside it.</summary>
    public T Create<T>()
        where T : new() => Separate(new T());

    /// <summary>As <see cref="Create{T}"/>, for an object that was just created.</summary>
    public T Separate<T>(T created)
    {
        _between.Add(new byte[Length]);
        return created;
    }

    /// <summary>Keeps an object of no references where it is, as long as the process lasts.</summary>
    public void Pin(object pinned) => _pins.Add(GCHandle.Alloc(pinned, GCHandleType.Pinned));
}
