using System.Runtime.InteropServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Shared memory over an array.</summary>
internal sealed class ArraySharedMemory(byte[] bytes) : TeeSharedMemory
{
    /// <summary>What happens at each write, on the writer's thread.</summary>
    public Action? OnWrite { get; init; }

    /// <summary>Whether the guest has taken the memory away.</summary>
    public bool IsGone { get; init; }

    public override ulong Size => (ulong)bytes.Length;

    public override bool IsTemporary => false;

    public override int MappingGranule => 0;

    public override bool TryRead(ulong offset, Span<byte> destination) =>
        bytes.AsSpan((int)offset, destination.Length).TryCopyTo(destination);

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> source)
    {
        OnWrite?.Invoke();
        return !IsGone && source.TryCopyTo(bytes.AsSpan((int)offset, source.Length));
    }

    public override bool TryGetHostAddress(ulong offset, out nint hostAddress, out ulong length)
    {
        hostAddress = 0;
        length = 0;
        return false;
    }

    public override bool TryGetFile(ulong offset, out SafeHandle file, out long fileOffset, out ulong length)
    {
        file = null!;
        fileOffset = 0;
        length = 0;
        return false;
    }
}
