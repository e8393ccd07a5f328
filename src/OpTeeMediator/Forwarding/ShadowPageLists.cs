using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Forwarding;

/// <summary>Page lists of physical addresses in shadow pages, which OP-TEE gets instead of the guest's.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ShadowPageLists(NonThrowingPhysicalMemory physical, ShadowPool shadows)
{
    public const int None = -1;

    /// <summary>Writes the list of a pinned buffer to shadow pages, the first of which names it.</summary>
    public TeeReturnCode TryWrite(SharedBuffer buffer, out int list)
    {
        if (!shadows.TryTake(ShadowPool.ListPages(buffer.Pages.Count), out list))
        {
            list = None;
            return TeeReturnCode.OutOfMemory;
        }

        if (TryTranslate(buffer.Pages, list))
        {
            return TeeReturnCode.Success;
        }

        Drop(ref list);
        return TeeReturnCode.BadParameters;
    }

    public void Drop(ref int list)
    {
        if (list != None)
        {
            shadows.Return(list);
            list = None;
        }
    }

    /// <summary>Writes the physical addresses of pinned pages into a page list. Fails if a page has none.</summary>
    private bool TryTranslate(GuestPages pages, int list)
    {
        ulong start = 0;
        ulong length = 0;
        ulong distance = 0;
        int index = 0;
        while (shadows.TryGetWords(list, out Span<ulong> part))
        {
            int count = Math.Min(pages.Count - index, part.Length - 1);
            for (int entry = 0; entry < count; entry++)
            {
                ulong address = pages[index + entry].Value;

                // One question for each run of memory that is contiguous in both address spaces.
                ulong offset = unchecked(address - start);
                if (offset >= length || length - offset < GuestPages.PageSize)
                {
                    if (!physical.TryTranslate(address, out PhysicalAddress translated, out length)
                        || length < GuestPages.PageSize || translated.Value % GuestPages.PageSize != 0)
                    {
                        return false;
                    }

                    start = address;
                    distance = unchecked(translated.Value - address);
                }

                part[entry] = unchecked(address + distance);
            }

            index += count;
            if (index == pages.Count)
            {
                return true;
            }

            list = shadows.Next(list);
            part[^1] = shadows.AddressOf(list).Value;
        }

        return false;
    }
}
