using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.State;

namespace OpTeeMediator.SharedMemory;

/// <summary>A buffer of guest memory: the pages, and which bytes of them.</summary>
/// <remarks>Pooled. Between pinning and unpinning it does not change and any thread may read it.</remarks>
internal sealed class SharedBuffer(NonThrowingGuestMemory memory, int id) : TeeSharedMemory
{
    private ulong _size;
    private ulong _pageOffset;
    private bool _isTemporary;
    private volatile bool _isMapped;

    /// <summary>Which object of its pool this is, from 1 on. It stays the same from one use to the next.</summary>
    public int Id { get; } = id;

    /// <summary>By which the guest names the buffer: any 64-bit value. Meaningless for temporary buffers.</summary>
    public ulong Cookie { get; private set; }

    /// <summary>By which the forwarder's OP-TEE knows the buffer.</summary>
    public ulong TeeCookie { get; set; }

    /// <summary>With whom the guest shares the buffer, if the TEE has asked for it.</summary>
    public GuestMemoryKind Kind { get; set; }

    /// <summary>Whether calls may use the buffer: not while the backend is busy with its registration.</summary>
    public bool IsUsable { get; set; }

    /// <summary>Whether the backend has registered the buffer, and is to be told when it ends.</summary>
    public bool IsKnownToTee { get; set; }

    public BufferRole Role { get; set; }

    /// <summary>The forwarder's shadow page that the TEE has instead of an RPC message buffer.</summary>
    public int ShadowPage { get; set; }

    public GuestPages Pages { get; } = new();

    public override ulong Size => _size;

    public override bool IsTemporary => _isTemporary;

    public override int MappingGranule => memory.MappingGranule;

    /// <summary>Describes the buffer, before its pages are pinned.</summary>
    public void Describe(ulong cookie, ulong pageOffset, ulong size, bool isTemporary)
    {
        Cookie = cookie;
        _isMapped = false;
        IsUsable = false;
        IsKnownToTee = false;
        Role = BufferRole.Registered;
        _pageOffset = pageOffset;
        _size = size;
        _isTemporary = isTemporary;
    }

    /// <summary>Tells a VMM that tracks writes what a TEE may have written that has the buffer mapped; what was written
    /// through this object it knows.</summary>
    public void NotifyWritten(ulong offset, ulong length)
    {
        if (!_isMapped)
        {
            return;
        }

        while (length != 0 && TryGetRun(offset, out GuestRange run))
        {
            ulong part = Math.Min(run.Length, length);
            memory.NotifyWritten(new GuestRange(run.Start, part));
            offset += part;
            length -= part;
        }
    }

    /// <summary>Saves what <see cref="SharedBufferPool.Restore"/> makes the same buffer of.</summary>
    public void Save(StateWriter writer)
    {
        writer.WriteUInt64(Cookie);
        writer.WriteUInt64(_pageOffset);
        writer.WriteUInt64(_size);
        writer.WriteBoolean(_isTemporary);
        writer.WriteByte((byte)Kind);
        writer.WriteBoolean(Pages.IsContiguous);
        for (int page = 0; page < (Pages.IsContiguous ? 1 : Pages.Count); page++)
        {
            writer.WriteUInt64(Pages[page].Value);
        }
    }

    /// <summary>The longest run of contiguous guest memory at an offset.</summary>
    /// <remarks>Also called beside a change: the answer is then wrong at worst, never harmful.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryGetRun(ulong offset, out GuestRange run)
    {
        ulong size = _size;
        run = default;
        if (offset >= size || !Pages.TryGetRun(_pageOffset + offset, out run))
        {
            return false;
        }

        run = new GuestRange(run.Start, Math.Min(run.Length, size - offset));
        return true;
    }

    public override bool TryRead(ulong offset, Span<byte> destination)
    {
        if (!IsWithin(offset, destination.Length))
        {
            return false;
        }

        while (!destination.IsEmpty)
        {
            // A run has one byte at least, so each round makes progress.
            if (!Pages.TryGetRun(_pageOffset + offset, out GuestRange run))
            {
                return false;
            }

            int length = (int)Math.Min(run.Length, (ulong)destination.Length);
            if (!memory.TryRead(run.Start, destination[..length]))
            {
                return false;
            }

            destination = destination[length..];
            offset += (ulong)length;
        }

        return true;
    }

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> source)
    {
        if (!IsWithin(offset, source.Length))
        {
            return false;
        }

        while (!source.IsEmpty)
        {
            if (!Pages.TryGetRun(_pageOffset + offset, out GuestRange run))
            {
                return false;
            }

            int length = (int)Math.Min(run.Length, (ulong)source.Length);
            if (!memory.TryWrite(run.Start, source[..length]))
            {
                return false;
            }

            source = source[length..];
            offset += (ulong)length;
        }

        return true;
    }

    public override bool TryGetHostAddress(ulong offset, out nint hostAddress, out ulong length)
    {
        bool hasRun = TryGetPiece(offset, out GuestRange run);
        length = run.Length;
        hostAddress = 0;
        bool isMapped = hasRun && memory.TryGetHostAddress(run, out hostAddress);
        _isMapped |= isMapped;
        return isMapped;
    }

    public override bool TryGetFile(ulong offset, out SafeHandle file, out long fileOffset, out ulong length)
    {
        bool hasRun = TryGetPiece(offset, out GuestRange run);
        length = run.Length;
        file = null!;
        fileOffset = 0;
        bool isMapped = hasRun && memory.TryGetFile(run, out file, out fileOffset);
        _isMapped |= isMapped;
        return isMapped;
    }

    private bool TryGetPiece(ulong offset, out GuestRange run)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(offset, _size);
        return TryGetRun(offset, out run);
    }

    private bool IsWithin(ulong offset, int length) => offset <= _size && (ulong)length <= _size - offset;
}
