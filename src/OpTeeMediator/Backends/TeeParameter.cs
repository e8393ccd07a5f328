namespace OpTeeMediator.Backends;

/// <summary>One of an operation's four parameters: nothing, two numbers, or a reference to shared memory.</summary>
/// <remarks>Decoded and checked by the mediator: a memory reference lies within its buffer, and the buffer stays pinned
/// until the operation is done. A backend sets outputs with <see cref="TeeRequest.SetValue"/> and
/// <see cref="TeeRequest.SetSize"/>. Belongs to one operation: not thread-safe.</remarks>
public struct TeeParameter
{
    private ulong _first;
    private ulong _second;
    private ulong _third;

    /// <summary>The kind.</summary>
    public TeeParameterKind Kind { get; private set; }

    /// <summary>The first number of a value. OP-TEE's trusted applications see the low 32 bits.</summary>
    public ulong A { readonly get => _first; internal set => _first = value; }

    /// <summary>The second number of a value. OP-TEE's trusted applications see the low 32 bits.</summary>
    public ulong B { readonly get => _second; internal set => _second = value; }

    /// <summary>The size of the referenced memory in bytes: as it was offered or, of an output, as
    /// <see cref="TeeRequest.SetSize"/> or the guest has set it.</summary>
    public ulong Size { readonly get => _second; internal set => _second = value; }

    /// <summary>Where the reference begins in <see cref="Memory"/>, in bytes.</summary>
    public readonly ulong Offset => IsMemory ? _first : 0;

    /// <summary>The third number of a value: used by calls to the guest (<see cref="GuestServices"/>) only.</summary>
    public ulong C { readonly get => IsMemory ? 0 : _third; internal set => _third = value; }

    /// <summary>The size of the referenced memory in bytes, as it was offered.</summary>
    public readonly ulong Capacity => IsMemory ? _third : 0;

    /// <summary>The referenced buffer; <see langword="null"/> for a NULL reference and for values.</summary>
    public TeeSharedMemory? Memory { get; private set; }

    /// <summary>Whether the parameter is two numbers.</summary>
    public readonly bool IsValue => Kind is >= TeeParameterKind.ValueInput and <= TeeParameterKind.ValueInOut;

    /// <summary>Whether the parameter is a memory reference, NULL or not.</summary>
    public readonly bool IsMemory => Kind >= TeeParameterKind.MemoryInput;

    /// <summary>Whether the parameter carries something back to the client.</summary>
    public readonly bool IsOutput => ((int)Kind & 2) != 0;

    /// <summary>Whether the parameter carries something to the application.</summary>
    public readonly bool IsInput => ((int)Kind & 1) != 0;

    /// <summary>Makes a value parameter.</summary>
    /// <param name="kind">One of the three value kinds.</param>
    /// <param name="a">The first number.</param>
    /// <param name="b">The second number.</param>
    /// <param name="c">The third number, which only calls to the guest have.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="kind"/> is no value.</exception>
    public static TeeParameter Value(TeeParameterKind kind, ulong a, ulong b, ulong c)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan((int)kind, (int)TeeParameterKind.ValueInput, nameof(kind));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((int)kind, (int)TeeParameterKind.ValueInOut, nameof(kind));
        TeeParameter parameter = default;
        parameter.SetValue(kind, a, b);
        parameter._third = c;
        return parameter;
    }

    /// <inheritdoc cref="Value(TeeParameterKind, ulong, ulong, ulong)"/>
    public static TeeParameter Value(TeeParameterKind kind, ulong a, ulong b) => Value(kind, a, b, 0);

    /// <summary>Makes a memory reference.</summary>
    /// <param name="kind">One of the three memory kinds.</param>
    /// <param name="memory">The buffer, or <see langword="null"/> for a NULL reference.</param>
    /// <param name="offset">Where the reference begins in the buffer, in bytes.</param>
    /// <param name="size">Its size in bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">
    /// <paramref name="kind"/> is no memory reference, or the reference leaves its buffer.</exception>
    public static TeeParameter Reference(TeeParameterKind kind, TeeSharedMemory? memory, ulong offset, ulong size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan((int)kind, (int)TeeParameterKind.MemoryInput, nameof(kind));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((int)kind, (int)TeeParameterKind.MemoryInOut, nameof(kind));
        if (memory is not null)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, memory.Size);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(size, memory.Size - offset);
        }

        TeeParameter parameter = default;
        parameter.SetMemory(kind, memory, offset, size);
        return parameter;
    }

    /// <summary>Copies referenced memory into private memory.</summary>
    /// <param name="offset">Where to begin in the reference, in bytes.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <returns><see langword="false"/> if the reference is NULL, or <paramref name="destination"/> would reach beyond
    /// <see cref="Capacity"/>.</returns>
    /// <remarks>The guest may change the memory at any time: read once, check and use the copy.</remarks>
    public readonly bool TryRead(ulong offset, Span<byte> destination) =>
        Memory is { } memory && IsWithin(offset, destination.Length) && memory.TryRead(_first + offset, destination);

    /// <summary>Copies into referenced memory.</summary>
    /// <param name="offset">Where to begin in the reference, in bytes.</param>
    /// <param name="source">The bytes to write.</param>
    /// <returns><see langword="false"/> if the reference is NULL or no output, or <paramref name="source"/> would reach
    /// beyond <see cref="Capacity"/>.</returns>
    public readonly bool TryWrite(ulong offset, ReadOnlySpan<byte> source) =>
        Memory is { } memory && IsOutput && IsWithin(offset, source.Length) && memory.TryWrite(_first + offset, source);

    internal void SetNone()
    {
        Kind = TeeParameterKind.None;
        Memory = null;
    }

    /// <summary>Copies word by word: a wide load of what has just been stored in words waits for the stores, and the
    /// collector's copy costs more than the rest.</summary>
    internal void Set(in TeeParameter other)
    {
        Kind = other.Kind;
        _first = other._first;
        _second = other._second;
        _third = other._third;
        Memory = other.Memory;
    }

    internal void SetValue(TeeParameterKind kind, ulong a, ulong b)
    {
        Kind = kind;
        _first = a;
        _second = b;
        _third = 0;
        Memory = null;
    }

    internal void SetMemory(TeeParameterKind kind, TeeSharedMemory? memory, ulong offset, ulong size)
    {
        Kind = kind;
        _first = offset;
        _second = size;
        _third = size;
        Memory = memory;
    }

    private readonly bool IsWithin(ulong offset, int length) => offset <= _third && (ulong)length <= _third - offset;
}
