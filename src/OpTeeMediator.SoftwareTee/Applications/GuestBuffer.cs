using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>Memory that the guest shares, from <see cref="ApplicationGuest.Allocate"/>.</summary>
/// <remarks>
/// Disposing of it gives it back; the mediator gives back what is left when the operation ends. It cannot be used after
/// either. The guest changes the content at any time: read once, check and use the copy. Not thread-safe.
/// </remarks>
public sealed class GuestBuffer : IDisposable, IAsyncDisposable
{
    private readonly IGuestOperation _operation;
    private readonly int _number;
    private TeeSharedMemory? _memory;

    internal GuestBuffer(IGuestOperation operation, TeeSharedMemory memory)
    {
        _operation = operation;
        _number = operation.Number;
        _memory = memory;
        Size = (int)memory.Size;
    }

    /// <summary>The size in bytes, as it was asked for.</summary>
    public int Size { get; }

    /// <summary>Whether it can still be used.</summary>
    internal bool IsAlive => _memory is not null && _number == _operation.Number;

    private TeeSharedMemory Memory
    {
        get
        {
            ObjectDisposedException.ThrowIf(!IsAlive, this);
            return _memory!;
        }
    }

    /// <summary>Copies a piece of the memory into private memory.</summary>
    /// <param name="offset">Where to begin, in bytes.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <returns><see langword="false"/> if the piece is not within <see cref="Size"/>.</returns>
    /// <exception cref="ObjectDisposedException">It was given back.</exception>
    public bool TryRead(int offset, Span<byte> destination) => Memory.TryRead((ulong)offset, destination);

    /// <summary>Copies into the memory.</summary>
    /// <param name="offset">Where to begin, in bytes.</param>
    /// <param name="source">The bytes to write.</param>
    /// <returns><see langword="false"/>, with nothing written, if the piece is not within <see cref="Size"/>.</returns>
    /// <exception cref="ObjectDisposedException">It was given back.</exception>
    public bool TryWrite(int offset, ReadOnlySpan<byte> source) => Memory.TryWrite((ulong)offset, source);

    /// <summary>Makes a parameter for <see cref="ApplicationGuest.Call"/>, valid until this is disposed of.</summary>
    /// <param name="kind">One of the three memory kinds; output is what the guest writes.</param>
    /// <param name="offset">Where the reference begins, in bytes.</param>
    /// <param name="size">Its size in bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">
    /// <paramref name="kind"/> is no memory reference, or the reference leaves the memory.
    /// </exception>
    /// <exception cref="ObjectDisposedException">It was given back.</exception>
    public TeeParameter AsParameter(TeeParameterKind kind, int offset, int size) =>
        TeeParameter.Reference(kind, Memory, (ulong)offset, (ulong)size);

    /// <summary>Gives the memory back to the guest.</summary>
    public void Dispose()
    {
        if (IsAlive)
        {
            _ = _operation.Guest.Free(_memory!);
        }

        _memory = null;
    }

    /// <inheritdoc cref="Dispose"/>
    public ValueTask DisposeAsync() => _operation.DisposeAsync(this);
}
