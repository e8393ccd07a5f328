using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>A buffer of guest pages in any order, over any guest memory.</summary>
internal sealed class PagedSharedMemory(IGuestMemory memory, GuestPages pages, ulong pageOffset, ulong size) : TeeSharedMemory
{
    public override ulong Size => size;

    public override bool IsTemporary => BackendState is null;

    public override int MappingGranule => (memory as IFileBackedGuestMemory)?.MappingGranule ?? 0;

    public override bool TryRead(ulong offset, Span<byte> destination)
    {
        byte[] one = new byte[1];
        for (int index = 0; index < destination.Length; index++)
        {
            _ = memory.TryRead(RunAt(offset + (ulong)index).Start, one);
            destination[index] = one[0];
        }

        return true;
    }

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> source)
    {
        for (int index = 0; index < source.Length; index++)
        {
            _ = memory.TryWrite(RunAt(offset + (ulong)index).Start, source.Slice(index, 1));
        }

        return true;
    }

    public override bool TryGetHostAddress(ulong offset, out nint hostAddress, out ulong length)
    {
        GuestRange run = RunAt(offset);
        length = run.Length;
        hostAddress = 0;
        return memory is IMappedGuestMemory mapped && mapped.TryGetHostAddress(run, out hostAddress);
    }

    public override bool TryGetFile(ulong offset, out SafeHandle file, out long fileOffset, out ulong length)
    {
        GuestRange run = RunAt(offset);
        length = run.Length;
        file = null!;
        fileOffset = 0;
        return memory is IFileBackedGuestMemory backed && backed.TryGetFile(run, out file, out fileOffset);
    }

    private GuestRange RunAt(ulong offset)
    {
        GuestRange run = pages.RunAt(pageOffset + offset);
        return new GuestRange(run.Start, ulong.Min(run.Length, size - offset));
    }
}
