using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>One of the four parameters of an operation, as a trusted application sees it.</summary>
/// <remarks>
/// A view that is valid while an entry point runs; outside, and for parameters that the client has not sent, the kind
/// is <see cref="TeeParameterKind.None"/>. Asking a parameter for what it is not throws, which is a panic like any use
/// of the wrong union member: check with <see cref="ApplicationCall.HasParameters"/> first. Not thread-safe.
/// </remarks>
public sealed class ApplicationParameter
{
    private readonly RunningOperation _operation;
    private readonly int _index;

    internal ApplicationParameter(RunningOperation operation, int index)
    {
        _operation = operation;
        _index = index;
    }

    /// <summary>The kind (TEE_PARAM_TYPE_GET).</summary>
    public TeeParameterKind Kind =>
        _operation.Request is { } request ? request.Parameters[_index].Kind : TeeParameterKind.None;

    /// <summary>The first number of a value, initially 0 for an output. Only outputs reach the client.</summary>
    /// <exception cref="InvalidOperationException">The parameter is no value.</exception>
    public uint A
    {
        get => (uint)Value.A;
        set => _operation.Request!.SetValue(_index, value, Value.B);
    }

    /// <summary>The second number of a value, initially 0 for an output. Only outputs reach the client.</summary>
    /// <exception cref="InvalidOperationException">The parameter is no value.</exception>
    public uint B
    {
        get => (uint)Value.B;
        set => _operation.Request!.SetValue(_index, Value.A, value);
    }

    /// <summary>The size of the client's memory in bytes; it does not change while the entry point runs.</summary>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference.</exception>
    public int Size => (int)Reference.Capacity;

    /// <summary>Whether the reference is NULL: a client that wants to know the <see cref="Size"/> it needs.</summary>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference.</exception>
    public bool IsNull => Reference.Memory is null;

    private ref readonly TeeParameter Value
    {
        get
        {
            if (_operation.Request is { } request && request.Parameters[_index].IsValue)
            {
                return ref request.Parameters[_index];
            }

            throw IsNo("value");
        }
    }

    private ref readonly TeeParameter Reference
    {
        get
        {
            if (_operation.Request is { } request && request.Parameters[_index].IsMemory)
            {
                return ref request.Parameters[_index];
            }

            throw IsNo("memory reference");
        }
    }

    private ref readonly TeeParameter Output
    {
        get
        {
            ref readonly TeeParameter reference = ref Reference;
            if (reference.IsOutput)
            {
                return ref reference;
            }

            throw IsNo("output");
        }
    }

    /// <summary>Copies a piece of the client's memory into private memory.</summary>
    /// <param name="offset">Where to begin in the reference, in bytes.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <returns><see langword="false"/> if the piece leaves the memory, or the reference is NULL.</returns>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference.</exception>
    /// <remarks>The client may change its memory at any time: read once, check and use the copy.</remarks>
    public bool TryRead(int offset, Span<byte> destination) =>
        offset >= 0 && Reference.TryRead((ulong)offset, destination);

    /// <summary>Copies all of the client's memory into private memory, if it fits.</summary>
    /// <param name="buffer">Private memory of any size.</param>
    /// <param name="content">The part of <paramref name="buffer"/> with the copy.</param>
    /// <returns><see langword="false"/> if the buffer is too short, or the reference is NULL and not empty.</returns>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference.</exception>
    public bool TryReadAll(Span<byte> buffer, out ReadOnlySpan<byte> content)
    {
        int size = Size;
        if (size > buffer.Length || (size > 0 && !TryRead(0, buffer[..size])))
        {
            content = default;
            return false;
        }

        content = buffer[..size];
        return true;
    }

    /// <summary>Copies all of the client's memory into a new array, of a limited size.</summary>
    /// <param name="maximum">The most that is read, in bytes: the client decides the size, and not the host's.</param>
    /// <param name="content">The copy; empty on failure.</param>
    /// <returns>
    /// Success; TEE_ERROR_EXCESS_DATA if the client's memory is larger; TEE_ERROR_BAD_PARAMETERS if the reference is
    /// NULL and not empty.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="maximum"/> is negative.</exception>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference.</exception>
    public TeeReturnCode ReadAll(int maximum, out byte[] content)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maximum);
        content = [];
        int size = Size;
        if (size > maximum)
        {
            return TeeReturnCode.ExcessData;
        }

        if (IsNull && size > 0)
        {
            return TeeReturnCode.BadParameters;
        }

        byte[] copy = new byte[size];
        if (size > 0 && !TryRead(0, copy))
        {
            return TeeReturnCode.BadParameters;
        }

        content = copy;
        return TeeReturnCode.Success;
    }

    /// <summary>Copies a piece of output into the client's memory; <see cref="SetSize"/> sets the whole size.</summary>
    /// <param name="offset">Where to begin in the reference, in bytes.</param>
    /// <param name="source">The bytes to write.</param>
    /// <returns><see langword="false"/>, with nothing written, if the piece leaves the memory.</returns>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference, or no output.</exception>
    public bool TryWrite(int offset, ReadOnlySpan<byte> source) =>
        offset >= 0 && Output.TryWrite((ulong)offset, source);

    /// <summary>Answers with one piece of output, the way GlobalPlatform's functions do.</summary>
    /// <param name="content">The whole output.</param>
    /// <returns>Success, or TEE_ERROR_SHORT_BUFFER if it does not fit; the client learns its size.</returns>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference, or no output.</exception>
    public TeeReturnCode Write(ReadOnlySpan<byte> content)
    {
        SetSize(content.Length);
        return content.IsEmpty || TryWrite(0, content) ? TeeReturnCode.Success : TeeReturnCode.ShortBuffer;
    }

    /// <summary>
    /// Passes a piece of the client's memory on to another application, which sees the memory itself.
    /// </summary>
    /// <param name="kind">What the other application may do: no more than this one.</param>
    /// <param name="offset">Where the piece begins in the reference, in bytes.</param>
    /// <param name="size">Its size in bytes.</param>
    /// <returns>The parameter; NULL if the client's is.</returns>
    /// <exception cref="InvalidOperationException">
    /// The parameter is no memory reference, or does not permit <paramref name="kind"/>.
    /// </exception>
    /// <exception cref="ArgumentOutOfRangeException">
    /// <paramref name="kind"/> is no memory reference, or the piece leaves the memory.
    /// </exception>
    public TeeParameter AsParameter(TeeParameterKind kind, int offset, int size)
    {
        ref readonly TeeParameter reference = ref Reference;
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)offset + (ulong)size, reference.Capacity, nameof(size));
        return (kind & ~reference.Kind) == 0
            ? TeeParameter.Reference(kind, reference.Memory, reference.Offset + (ulong)offset, (ulong)size)
            : throw IsNo($"reference that permits {kind}");
    }

    /// <summary>Tells the client the size of the output, which lies within its memory, or the size it needs.</summary>
    /// <param name="size">The size in bytes, 0 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is negative.</exception>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference, or no output.</exception>
    public void SetSize(int size)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        _ = Output;
        _operation.Request!.SetSize(_index, (ulong)size);
    }

    /// <summary>
    /// Refuses an output buffer that is too short: <c>if (output.Size &lt; 32) return output.ShortBuffer(32);</c>
    /// </summary>
    /// <param name="neededSize">The size in bytes that the client is told.</param>
    /// <returns>TEE_ERROR_SHORT_BUFFER.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="neededSize"/> is negative.</exception>
    /// <exception cref="InvalidOperationException">The parameter is no memory reference, or no output.</exception>
    public TeeReturnCode ShortBuffer(int neededSize)
    {
        SetSize(neededSize);
        return TeeReturnCode.ShortBuffer;
    }

    private InvalidOperationException IsNo(string expected) =>
        new(
            $"Parameter {_index} is {Kind}, which is no {expected}: check the parameters with "
            + $"{nameof(ApplicationCall.HasParameters)} first.");
}
