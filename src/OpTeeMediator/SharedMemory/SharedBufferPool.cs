using System.Buffers;
using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.State;

namespace OpTeeMediator.SharedMemory;

/// <summary>Makes buffers of what a guest describes, and takes them back; allocates nothing in steady state.</summary>
/// <remarks>A buffer that comes out of here is checked, counted and pinned. Thread-safe.</remarks>
internal sealed class SharedBufferPool(NonThrowingGuestMemory memory, MemoryBudget budget)
{
    // How many page lists of each size class are kept for use again.
    private const int ListsPerSize = 16;

    // A tenth of what a VM costs, and not needed before its first buffer of several pages.
    private readonly Lazy<ArrayPool<ulong>> _lists = new(
        () => ArrayPool<ulong>.Create(budget.PagesPerBuffer, ListsPerSize), LazyThreadSafetyMode.PublicationOnly);

    private readonly Lock _lock = new();
    private readonly Stack<SharedBuffer> _free = new();

    // The last one that came back, without the lock.
    private SharedBuffer? _spare;
    private int _lastId;

    /// <summary>Makes a buffer of contiguous guest memory, for one call.</summary>
    public TeeReturnCode TryCreateContiguous(GuestAddress address, ulong size, ulong cookie, out SharedBuffer? buffer)
    {
        buffer = null;
        ulong pageOffset = address.Value % OpTeeMessage.PageSize;
        ulong first = address.Value - pageOffset;
        if (!TryCountPages(pageOffset, size, out int count, out TeeReturnCode refusal))
        {
            return refusal;
        }

        if (first > ulong.MaxValue - ((ulong)count * OpTeeMessage.PageSize))
        {
            return TeeReturnCode.BadParameters;
        }

        SharedBuffer candidate = Rent();
        candidate.Pages.Set(first, count, null, default);
        candidate.Describe(cookie, pageOffset, size, isTemporary: true);
        return Admit(candidate, out buffer);
    }

    /// <summary>Makes a buffer of the pages in a page list. The pointer is the address of the list's first page, plus
    /// the buffer's offset in its first page.</summary>
    public TeeReturnCode TryCreateFromPageList(
        ulong bufferPointer, ulong size, ulong cookie, bool isTemporary, out SharedBuffer? buffer)
    {
        buffer = null;
        ulong pageOffset = bufferPointer % OpTeeMessage.PageSize;
        if ((pageOffset | size) == 0)
        {
            // OP-TEE takes the last byte's page for the last page, and here it would lie before the first.
            return TeeReturnCode.BadParameters;
        }

        if (!TryCountPages(pageOffset, size, out int count, out TeeReturnCode refusal))
        {
            return refusal;
        }

        SharedBuffer candidate = Rent();
        if (!TryReadPageList(bufferPointer - pageOffset, count, candidate.Pages))
        {
            Keep(candidate);
            return TeeReturnCode.BadParameters;
        }

        candidate.Describe(cookie, pageOffset, size, isTemporary);
        return Admit(candidate, out buffer);
    }

    /// <summary>Makes a buffer that an earlier process had. Its description is checked as a guest's is.</summary>
    /// <exception cref="OpTeeStateException">There is no such buffer in this VM.</exception>
    public SharedBuffer Restore(StateReader reader)
    {
        ulong cookie = reader.ReadUInt64();
        ulong pageOffset = reader.ReadUInt64();
        ulong size = reader.ReadUInt64();
        bool isTemporary = reader.ReadBoolean();
        GuestMemoryKind kind = reader.ReadEnum<GuestMemoryKind>();
        bool isContiguous = reader.ReadBoolean();
        if (pageOffset >= OpTeeMessage.PageSize || !TryCountPages(pageOffset, size, out int count, out _))
        {
            throw new OpTeeStateException(
                $"The state has a buffer of {size} bytes, and this VM's may have {budget.PagesPerBuffer} pages: give "
                + "it the limits that it had when it was saved.");
        }

        SharedBuffer candidate = Rent();
        candidate.Describe(cookie, pageOffset, size, isTemporary);
        candidate.Kind = kind;
        if (!TryReadPages(reader, isContiguous, count, candidate.Pages))
        {
            Keep(candidate);
            throw StateReader.Malformed("a buffer has no pages");
        }

        TeeReturnCode code = Admit(candidate, out SharedBuffer? buffer);
        return code == TeeReturnCode.Success
            ? buffer!
            : throw new OpTeeStateException(code == TeeReturnCode.OutOfMemory
                ? "The state has more shared memory than this VM may have: give it the limits that it had when it was "
                    + "saved."
                : $"The state has a buffer of {count} pages that are not in this VM's memory: give it the memory that "
                    + "it had when it was saved.");
    }

    /// <summary>Unpins a buffer and takes it back. Nobody uses it any more.</summary>
    /// <remarks>Throws nothing: it is called from threads where nobody would catch it.</remarks>
    public void Return(SharedBuffer buffer)
    {
        int pages = buffer.Pages.Count;
        if (memory.IsTracked)
        {
            buffer.NotifyWritten(0, buffer.Size);
        }

        if (memory.TryUnpin(buffer.Pages))
        {
            Keep(buffer);
        }

        // Otherwise it is not used again, because the VMM's lists may still have it.

        budget.Return(pages);
    }

    private TeeReturnCode Admit(SharedBuffer candidate, out SharedBuffer? buffer)
    {
        buffer = null;
        int pages = candidate.Pages.Count;
        if (!budget.TryTake(pages))
        {
            Keep(candidate);
            return TeeReturnCode.OutOfMemory;
        }

        if (memory.TryPin(candidate.Pages, out bool isUnknown))
        {
            buffer = candidate;
            return TeeReturnCode.Success;
        }

        if (!isUnknown)
        {
            Keep(candidate);
        }

        budget.Return(pages);
        return TeeReturnCode.BadParameters;
    }

    private bool TryCountPages(ulong pageOffset, ulong size, out int count, out TeeReturnCode refusal)
    {
        count = 0;
        refusal = TeeReturnCode.BadParameters;
        if (size > ulong.MaxValue - (2 * OpTeeMessage.PageSize))
        {
            return false;
        }

        // As OP-TEE does: no bytes count as one.
        ulong pages = (pageOffset + Math.Max(size, 1) + OpTeeMessage.PageSize - 1) / OpTeeMessage.PageSize;
        refusal = TeeReturnCode.OutOfMemory;
        count = (int)Math.Min(pages, int.MaxValue);
        return pages <= (ulong)budget.PagesPerBuffer;
    }

    private bool TryReadPageList(ulong list, int count, GuestPages pages)
    {
        if (count == 1)
        {
            // As GuestPages.Examine says of many.
            bool isPage = memory.TryRead(list, out ulong single) && single % OpTeeMessage.PageSize == 0
                && single <= ulong.MaxValue - OpTeeMessage.PageSize;
            pages.Set(isPage ? single : 0, 1, null, default);
            return isPage;
        }

        // Each part is read whole into the place where the addresses stay; the next part overwrites its link.
        ulong[] addresses = _lists.Value.Rent(count);
        int filled = 0;
        while (true)
        {
            int left = count - filled;
            bool isLast = left <= OpTeeMessage.AddressesPerListPage;
            Span<ulong> part = addresses.AsSpan(filled, isLast ? left : OpTeeMessage.AddressesPerListPage + 1);
            if (list % OpTeeMessage.PageSize != 0 || !memory.TryRead(list, MemoryMarshal.AsBytes(part)))
            {
                _lists.Value.Return(addresses);
                return false;
            }

            if (isLast)
            {
                break;
            }

            filled += OpTeeMessage.AddressesPerListPage;
            list = part[^1];
        }

        bool arePages =
            GuestPages.Examine(addresses.AsSpan(0, count), out bool contiguous, out GuestRange extent);
        pages.Set(addresses[0], count, contiguous || !arePages ? null : addresses, extent);
        if (contiguous || !arePages)
        {
            _lists.Value.Return(addresses);
        }

        return arePages;
    }

    private bool TryReadPages(StateReader reader, bool isContiguous, int count, GuestPages pages)
    {
        if (isContiguous)
        {
            ulong first = reader.ReadUInt64();
            pages.Set(first, count, null, default);
            return first % OpTeeMessage.PageSize == 0
                && first < ulong.MaxValue - ((ulong)count * OpTeeMessage.PageSize);
        }

        // Before anything is rented: a state that ends here costs nothing.
        ReadOnlySpan<byte> saved = reader.ReadRaw(count * sizeof(ulong));
        ulong[] addresses = _lists.Value.Rent(count);
        saved.CopyTo(MemoryMarshal.AsBytes(addresses.AsSpan(0, count)));
        bool arePages = GuestPages.Examine(addresses.AsSpan(0, count), out bool contiguous, out GuestRange extent);
        pages.Set(addresses[0], count, contiguous || !arePages ? null : addresses, extent);
        if (contiguous || !arePages)
        {
            _lists.Value.Return(addresses);
        }

        return arePages;
    }

    private SharedBuffer Rent()
    {
        if (Interlocked.Exchange(ref _spare, null) is { } spare)
        {
            return spare;
        }

        lock (_lock)
        {
            if (_free.TryPop(out SharedBuffer? buffer))
            {
                return buffer;
            }
        }

        return new SharedBuffer(memory, Interlocked.Increment(ref _lastId));
    }

    private void Keep(SharedBuffer buffer)
    {
        buffer.BackendState = null;
        if (buffer.Pages.Clear() is { } addresses)
        {
            _lists.Value.Return(addresses);
        }

        if (Interlocked.CompareExchange(ref _spare, buffer, null) is not null)
        {
            lock (_lock)
            {
                _free.Push(buffer);
            }
        }
    }
}
