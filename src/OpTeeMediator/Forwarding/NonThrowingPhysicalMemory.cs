using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Forwarding;

/// <summary>The VMM's physical memory, which may throw, as one that does not: what throws fails as if there were no such memory.</summary>
/// <remarks>The log gets one entry for each method and <see cref="LogRateLimit.Interval"/>. Thread-safe.</remarks>
internal sealed class NonThrowingPhysicalMemory
{
    private readonly IPhysicalMemory _physical;
    private readonly ILogger _log;
    private readonly PhysicalAddress[] _shadowPages;
    private readonly LogRateLimit _translations = new();
    private readonly LogRateLimit _accesses = new();

    /// <exception cref="Exception">What the VMM's <see cref="IPhysicalMemory.GetShadowPage"/> throws.</exception>
    public NonThrowingPhysicalMemory(IPhysicalMemory physical, int shadowPages, ILogger log)
    {
        _physical = physical;
        _log = log;
        _shadowPages = new PhysicalAddress[shadowPages];
        for (int index = 0; index < shadowPages; index++)
        {
            _ = physical.GetShadowPage(index, out _shadowPages[index]);
        }
    }

    /// <summary>The number of shadow pages that are used.</summary>
    public int ShadowPages => _shadowPages.Length;

    /// <summary>The physical address of a shadow page, as it was when the VM was created.</summary>
    public PhysicalAddress AddressOfShadowPage(int index) => _shadowPages[index];

    /// <summary>The 4096 bytes of a shadow page.</summary>
    /// <returns><see langword="false"/> if the VMM's memory threw, or gave fewer bytes.</returns>
    public bool TryGetShadowPage(int index, out Span<byte> page)
    {
        try
        {
            page = _physical.GetShadowPage(index, out _)[..OpTeeMessage.PageSize];
            return true;
        }
        catch (Exception exception)
        {
            if (_accesses.TryPass(out long suppressed))
            {
                _log.PhysicalMemoryFailed(nameof(IPhysicalMemory.GetShadowPage), suppressed, exception);
            }

            page = default;
            return false;
        }
    }

    /// <inheritdoc cref="IPhysicalMemory.TryTranslate"/>
    public bool TryTranslate(GuestAddress address, out PhysicalAddress physical, out ulong length)
    {
        try
        {
            return _physical.TryTranslate(address, out physical, out length);
        }
        catch (Exception exception)
        {
            if (_translations.TryPass(out long suppressed))
            {
                _log.PhysicalMemoryFailed(nameof(IPhysicalMemory.TryTranslate), suppressed, exception);
            }

            physical = default;
            length = 0;
            return false;
        }
    }
}
