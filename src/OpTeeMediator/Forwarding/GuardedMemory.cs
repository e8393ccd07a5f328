using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Forwarding;

/// <summary>The VMM's view of guest memory, which may throw, as one that does not: what throws is logged and has failed.</summary>
/// <remarks>So that nothing comes between a call of OP-TEE and the books about it. Thread-safe.</remarks>
internal sealed class GuardedMemory(IGuestMemory memory, IPhysicalMemory physical, ILogger log) : IGuestMemory
{
    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        try
        {
            return memory.TryRead(address, destination);
        }
        catch (Exception exception)
        {
            log.GuestMemoryFailed(exception);
            return false;
        }
    }

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        try
        {
            return memory.TryWrite(address, source);
        }
        catch (Exception exception)
        {
            log.GuestMemoryFailed(exception);
            return false;
        }
    }

    public bool TryWriteWords<T>(GuestAddress address, ReadOnlySpan<T> words)
        where T : unmanaged => TryWrite(address, MemoryMarshal.AsBytes(words));

    public bool TryPin(GuestPages pages)
    {
        try
        {
            return memory.TryPin(pages);
        }
        catch (Exception exception)
        {
            log.GuestMemoryFailed(exception);
            return false;
        }
    }

    public void Unpin(GuestPages pages)
    {
        try
        {
            memory.Unpin(pages);
        }
        catch (Exception exception)
        {
            log.GuestMemoryFailed(exception);
        }
    }

    /// <summary>Writes the physical addresses of pinned pages into a page list.</summary>
    /// <param name="pages">The pages.</param>
    /// <param name="pool">The shadow pages that the list lies in.</param>
    /// <param name="list">The first of them.</param>
    /// <returns><see langword="false"/> if a page has no physical address.</returns>
    public bool TryTranslate(GuestPages pages, ShadowPool pool, int list)
    {
        try
        {
            return TryTranslateAll(pages, pool, list);
        }
        catch (Exception exception)
        {
            log.GuestMemoryFailed(exception);
            return false;
        }
    }

    private bool TryTranslateAll(GuestPages pages, ShadowPool pool, int list)
    {
        ulong start = 0;
        ulong length = 0;
        ulong distance = 0;
        int index = 0;
        while (true)
        {
            Span<ulong> part = pool.WordsOf(list);
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

            list = pool.Next(list);
            part[^1] = pool.AddressOf(list).Value;
        }
    }
}
