using System.Runtime.InteropServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.Linux;

/// <summary>A buffer one of whose calls throws.</summary>
internal sealed class FailingSharedMemory(TeeSharedMemory memory, FailurePoint point) : TeeSharedMemory
{
    public override ulong Size => memory.Size;

    public override bool IsTemporary => memory.IsTemporary;

    public override int MappingGranule
    {
        get
        {
            point.Pass();
            return memory.MappingGranule;
        }
    }

    public override bool TryRead(ulong offset, Span<byte> destination)
    {
        point.Pass();
        return memory.TryRead(offset, destination);
    }

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> source)
    {
        point.Pass();
        return memory.TryWrite(offset, source);
    }

    public override bool TryGetHostAddress(ulong offset, out nint hostAddress, out ulong length)
    {
        point.Pass();
        return memory.TryGetHostAddress(offset, out hostAddress, out length);
    }

    public override bool TryGetFile(ulong offset, out SafeHandle file, out long fileOffset, out ulong length)
    {
        point.Pass();
        return memory.TryGetFile(offset, out file, out fileOffset, out length);
    }
}
