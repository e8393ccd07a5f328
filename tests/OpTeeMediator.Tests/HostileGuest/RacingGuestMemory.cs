using System.Buffers.Binary;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>Guest memory in which another vCPU changes one field just before one of the mediator's reads, and which
/// remembers each field that the mediator reads twice.</summary>
/// <remarks>The driver's own writes go through <see cref="ForDriver"/>: what it writes again may be read again. Reads
/// beside the watched fields do not count. For one vCPU.</remarks>
internal sealed class RacingGuestMemory(IGuestMemory inner) : IGuestMemory
{
    private readonly HashSet<ulong> _readSinceWritten = [];
    private readonly List<string> _doubleReads = [];
    private readonly List<HashSet<ulong>> _reads = [];
    private readonly HashSet<ulong> _watchedPages = [];
    private MessageField[] _watched = [];
    private int _changeBefore;
    private MessageField _changed;
    private Func<ulong, ulong> _change = value => value;

    /// <summary>The memory for the driver.</summary>
    public IGuestMemory ForDriver => new DriversMemory(this, inner);

    /// <summary>The fields that the mediator has read again though nobody had written them since.</summary>
    public IReadOnlyList<string> DoubleReads => _doubleReads;

    /// <summary>The addresses of the watched fields that each read got, in the order of the reads.</summary>
    public IReadOnlyList<IReadOnlySet<ulong>> Reads => _reads;

    /// <summary>Begins to watch.</summary>
    /// <param name="fields">The fields that are watched.</param>
    /// <param name="changeBefore">The number of the read, from 1 on, before which one is changed; 0 for none.</param>
    /// <param name="changed">Which one.</param>
    /// <param name="change">To what, from what it is then.</param>
    public void Watch(
        IEnumerable<MessageField> fields, int changeBefore, MessageField changed, Func<ulong, ulong> change)
    {
        _watched = [.. fields];
        _watchedPages.UnionWith(_watched.Select(field => PageOf(field.Address)));
        _changeBefore = changeBefore;
        _changed = changed;
        _change = change;
    }

    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        int length = destination.Length;
        MessageField[] got = FindWatched(address, length);
        if (got.Length > 0)
        {
            if (_reads.Count + 1 == _changeBefore)
            {
                Change();
            }

            _reads.Add([.. got.Select(field => field.Address)]);
            _doubleReads.AddRange(
                got.Where(field => !_readSinceWritten.Add(field.Address)).Select(field => field.Name));
        }

        return inner.TryRead(address, destination);
    }

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        OnWritten(address, source.Length);
        return inner.TryWrite(address, source);
    }

    public bool TryPin(GuestPages pages) => inner.TryPin(pages);

    public void Unpin(GuestPages pages) => inner.Unpin(pages);

    private static bool Overlap(MessageField field, GuestAddress address, int length) =>
        field.Address < address.Value + (ulong)length && address.Value < field.Address + (ulong)field.Size;

    private static ulong PageOf(ulong address) => address / GuestPages.PageSize;

    // Most accesses are to other pages.
    private MessageField[] FindWatched(GuestAddress address, int length)
    {
        ulong last = PageOf(address.Value + (ulong)Math.Max(length, 1) - 1);
        bool isNear = false;
        for (ulong page = PageOf(address.Value); page <= last && !isNear; page++)
        {
            isNear = _watchedPages.Contains(page);
        }

        return isNear ? [.. _watched.Where(field => Overlap(field, address, length))] : [];
    }

    private void OnWritten(GuestAddress address, int length)
    {
        foreach (MessageField field in FindWatched(address, length))
        {
            _ = _readSinceWritten.Remove(field.Address);
        }
    }

    private void Change()
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes.Clear();
        _ = inner.TryRead(_changed.Address, bytes[.._changed.Size]);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, _change(BinaryPrimitives.ReadUInt64LittleEndian(bytes)));
        _ = inner.TryWrite(_changed.Address, bytes[.._changed.Size]);
    }

    private sealed class DriversMemory(RacingGuestMemory racing, IGuestMemory inner) : IGuestMemory
    {
        public bool TryRead(GuestAddress address, Span<byte> destination) => inner.TryRead(address, destination);

        public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
        {
            racing.OnWritten(address, source.Length);
            return inner.TryWrite(address, source);
        }

        public bool TryPin(GuestPages pages) => inner.TryPin(pages);

        public void Unpin(GuestPages pages) => inner.Unpin(pages);
    }
}
