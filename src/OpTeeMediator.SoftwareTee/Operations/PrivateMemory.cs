using System.Runtime.InteropServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>Memory of an application that it shares with another one.</summary>
internal sealed class PrivateMemory : TeeSharedMemory
{
    private readonly Memory<byte> _memory;
    private readonly bool _isReadOnly;

    public PrivateMemory(Memory<byte> memory) => _memory = memory;

    private PrivateMemory(ReadOnlyMemory<byte> memory)
    {
        _memory = MemoryMarshal.AsMemory(memory);
        _isReadOnly = true;
    }

    public override ulong Size => (ulong)_memory.Length;

    public override bool IsTemporary => true;

    public override int MappingGranule => 0;

    public static PrivateMemory OfInput(ReadOnlyMemory<byte> memory) => new(memory);

    public override bool TryRead(ulong offset, Span<byte> destination)
    {
        if (!IsWithin(offset, destination.Length))
        {
            return false;
        }

        _memory.Span.Slice((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> source)
    {
        if (_isReadOnly || !IsWithin(offset, source.Length))
        {
            return false;
        }

        source.CopyTo(_memory.Span[(int)offset..]);
        return true;
    }

    public override bool TryGetHostAddress(ulong offset, out nint hostAddress, out ulong length)
    {
        (hostAddress, length) = (0, 0);
        return false;
    }

    public override bool TryGetFile(ulong offset, out SafeHandle file, out long fileOffset, out ulong length)
    {
        (file, fileOffset, length) = (null!, 0, 0);
        return false;
    }

    private bool IsWithin(ulong offset, int length) => offset <= Size && (ulong)length <= Size - offset;
}
