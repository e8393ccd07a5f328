using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Memory;

/// <summary>The VMM's guest memory, which may throw, as one that does not: what throws fails, as without RAM.</summary>
/// <remarks>
/// <para>Has both optional capabilities; those that the VMM's memory does not have always fail. So every caller
/// has a way without them.</para>
/// <para>A guest can make the VMM's memory throw at will: the log gets one entry for each method and
/// <see cref="LogRateLimit.Interval"/>.</para>
/// <para>Thread-safe.</para>
/// </remarks>
internal sealed class NonThrowingGuestMemory(IGuestMemory memory, ILogger log)
    : IMappedGuestMemory, IFileBackedGuestMemory
{
    private readonly IMappedGuestMemory? _mapped = memory as IMappedGuestMemory;
    private readonly IFileBackedGuestMemory? _fileBacked = memory as IFileBackedGuestMemory;
    private readonly IWriteTrackedGuestMemory? _tracked = memory as IWriteTrackedGuestMemory;
    private readonly LogRateLimit _reads = new();
    private readonly LogRateLimit _writes = new();
    private readonly LogRateLimit _pins = new();
    private readonly LogRateLimit _unpins = new();
    private readonly LogRateLimit _mappings = new();
    private readonly LogRateLimit _notifications = new();

    /// <summary>Whether <see cref="NotifyWritten"/> reaches anyone.</summary>
    public bool IsTracked => _tracked is not null;

    public int MappingGranule
    {
        get
        {
            try
            {
                return _fileBacked?.MappingGranule ?? 0;
            }
            catch (Exception exception)
            {
                Report(_mappings, nameof(MappingGranule), exception);
                return 0;
            }
        }
    }

    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        try
        {
            return memory.TryRead(address, destination);
        }
        catch (Exception exception)
        {
            Report(_reads, nameof(TryRead), exception);
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
            Report(_writes, nameof(TryWrite), exception);
            return false;
        }
    }

    /// <summary>Writes words, all or nothing.</summary>
    public bool TryWriteWords<T>(GuestAddress address, ReadOnlySpan<T> words)
        where T : unmanaged => TryWrite(address, MemoryMarshal.AsBytes(words));

    public bool TryPin(GuestPages pages) => TryPin(pages, out _);

    /// <summary>Pins pages. With <paramref name="isUnknown"/> the VMM's memory threw and may keep a reference to them:
    /// they must not be used for anything else.</summary>
    public bool TryPin(GuestPages pages, out bool isUnknown)
    {
        isUnknown = false;
        try
        {
            return memory.TryPin(pages);
        }
        catch (Exception exception)
        {
            isUnknown = true;
            Report(_pins, nameof(TryPin), exception);
            return false;
        }
    }

    public void Unpin(GuestPages pages) => _ = TryUnpin(pages);

    /// <summary>Unpins pages. After a failure they must not be used again, as after an unknown pin.</summary>
    public bool TryUnpin(GuestPages pages)
    {
        try
        {
            memory.Unpin(pages);
            return true;
        }
        catch (Exception exception)
        {
            if (_unpins.TryPass(out long suppressed))
            {
                log.UnpinFailed(pages.Count, suppressed, exception);
            }

            return false;
        }
    }

    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window)
    {
        try
        {
            if (_mapped is not null)
            {
                return _mapped.TryGetWindow(address, length, out window) && window.Length == length;
            }
        }
        catch (Exception exception)
        {
            Report(_mappings, nameof(TryGetWindow), exception);
        }

        window = default;
        return false;
    }

    public bool TryGetHostAddress(GuestRange range, out nint hostAddress)
    {
        try
        {
            if (_mapped is not null)
            {
                return _mapped.TryGetHostAddress(range, out hostAddress);
            }
        }
        catch (Exception exception)
        {
            Report(_mappings, nameof(TryGetHostAddress), exception);
        }

        hostAddress = 0;
        return false;
    }

    public bool TryGetFile(GuestRange range, out SafeHandle file, out long offset)
    {
        try
        {
            if (_fileBacked is not null)
            {
                return _fileBacked.TryGetFile(range, out file, out offset) && file is not null;
            }
        }
        catch (Exception exception)
        {
            Report(_mappings, nameof(TryGetFile), exception);
        }

        file = null!;
        offset = 0;
        return false;
    }

    /// <inheritdoc cref="IWriteTrackedGuestMemory.NotifyWritten"/>
    public void NotifyWritten(GuestRange range)
    {
        try
        {
            _tracked?.NotifyWritten(range);
        }
        catch (Exception exception)
        {
            if (_notifications.TryPass(out long suppressed))
            {
                log.TrackingFailed(range, suppressed, exception);
            }
        }
    }

    private void Report(LogRateLimit limit, string method, Exception exception)
    {
        if (limit.TryPass(out long suppressed))
        {
            log.GuestMemoryFailed(method, suppressed, exception);
        }
    }
}
