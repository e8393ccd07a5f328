using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Page lists of buffers, of one page to several list pages.</summary>
/// <remarks>An input: the offset in the first page (2 bytes), the size (4 bytes), which page of the list links to which
/// (1 byte), then a byte for each page, repeated to the list's end.</remarks>
internal sealed class PageListTarget : FuzzTarget
{
    private const int PagesPerBuffer = 1200;
    private const int ListPages = 3;

    private readonly FuzzMemory _memory = new();
    private readonly MemoryBudget _budget = new(8, 2 * PagesPerBuffer, PagesPerBuffer);
    private readonly SharedBufferPool _pool;
    private readonly InputReader _input = new();
    private readonly ulong[] _pages = new ulong[PagesPerBuffer + ListPages];

    public PageListTarget() =>
        _pool = new SharedBufferPool(new NonThrowingGuestMemory(_memory, NullLogger.Instance), _budget);

    public override int MaximumLength => 128;

    public override IEnumerable<byte[]> Seeds =>
    [
        [0, 0, 0, 0x10, 0, 0, 0, 5],
        [0x10, 0, 0xf0, 0x2f, 0, 0, 0, 5, 6, 7, 8],
        [0x80, 0, 0, 0x30, 0, 0, 0, 9, 20, 11, 40],
        [0, 0, 0, 0x20, 0, 0, 0, 5, 0xff, 0xfe, 0xfd],
        [0, 0, 0, 0, 0x40, 0, 0, .. Enumerable.Range(4, 60).Select(page => (byte)page)],
        [1, 0, 0, 0, 0x20, 0, 1, 7, 8],
    ];

    public override void Execute(ReadOnlySpan<byte> input)
    {
        _input.Begin(input);
        uint offset = (uint)(_input.Byte() | _input.Byte() << 8) % GuestPages.PageSize;
        uint size = _input.UInt32();
        int links = _input.Byte();
        int count = (int)Math.Min((offset + (ulong)Math.Max(size, 1) + 4095) / 4096, PagesPerBuffer);
        Write(count, links, _input.Rest);

        TeeReturnCode code = _pool.TryCreateFromPageList(
            FuzzMemory.Page(0) + offset, size, 1, isTemporary: false, out SharedBuffer? buffer);

        Require((code == TeeReturnCode.Success) == buffer is not null, "a buffer with success, and only then");
        Require(code is TeeReturnCode.Success or TeeReturnCode.BadParameters or TeeReturnCode.OutOfMemory,
            "one of three answers");
        if (buffer is not null)
        {
            Check(buffer, offset, size, count, isLinked: links == 0);
            _pool.Return(buffer);
        }

        Require(_budget is { Buffers: 0, Pages: 0 }, "the budget is whole again");
        Require(_memory.Pinned.Count == 0, "nothing stays pinned");
    }

    // The list of the first pages of RAM, in parts of 511 with a link each.
    private void Write(int count, int links, ReadOnlySpan<byte> choices)
    {
        int written = 0;
        for (int part = 0; part < ListPages; part++)
        {
            Span<ulong> list = MemoryMarshal.Cast<byte, ulong>(_memory.At(part));
            list.Clear();
            for (int entry = 0; entry < OpTeeMessage.AddressesPerListPage && written < count; entry++, written++)
            {
                _pages[written] = Address(choices.IsEmpty ? (byte)0 : choices[written % choices.Length], written);
                list[entry] = _pages[written];
            }

            // Links to the next page, to itself, to no list, or to no memory.
            list[^1] = (links >> (2 * part) & 3) switch
            {
                0 => FuzzMemory.Page(part + 1),
                1 => FuzzMemory.Page(part),
                2 => FuzzMemory.Page(part + 1) + 8,
                _ => ulong.MaxValue - 4095,
            };
        }
    }

    private static ulong Address(byte choice, int index) => choice switch
    {
        < FuzzMemory.Pages => FuzzMemory.Page(choice),
        < 0x80 => FuzzMemory.Page((choice + index) % FuzzMemory.Pages),
        0xff => ulong.MaxValue - 4095,
        0xfe => FuzzMemory.Page(5) + 8,
        0xfd => FuzzMemory.Page(FuzzMemory.Pages),
        0xfc => FuzzMemory.Start - GuestPages.PageSize,
        0xfb => 0,
        0xfa => 1ul << 63,
        _ => FuzzMemory.Page(choice & 7),
    };

    private void Check(SharedBuffer buffer, uint offset, uint size, int count, bool isLinked)
    {
        Require(buffer.Size == size && buffer.Pages.Count == count, "size and number of pages are those asked for");
        Require(_memory.Pinned.Count == 1 && _budget.Pages == count, "its pages are pinned and counted");
        for (int index = 0; isLinked && index < count; index++)
        {
            Require(buffer.Pages[index].Value == _pages[index], "the pages are those of the list");
        }

        ulong position = 0;
        while (position < size)
        {
            Require(buffer.TryGetRun(position, out GuestRange run) && run.Length > 0, "each byte has a run");
            Require(run.Start.Value >= FuzzMemory.Start
                && run.Start.Value + run.Length <= FuzzMemory.Page(FuzzMemory.Pages), "runs lie in RAM");
            Require(run.Start.Value % 4096 == (offset + position) % 4096, "runs begin where the buffer is");
            position += run.Length;
        }

        Require(position == size, "the runs make the buffer");
        Span<byte> one = stackalloc byte[1];
        Require(!buffer.TryRead(size, one) && !buffer.TryWrite(ulong.MaxValue, one), "nothing lies behind the buffer");
        Require(size == 0 || (buffer.TryRead(0, one) && buffer.TryRead(size - 1, one)), "all of it can be read");
    }
}
