using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Forwarding;

/// <summary>The VMM's physical memory; what throws there fails as if there were no such memory.</summary>
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

    /// <summary>Checks the shadow pages.</summary>
    /// <exception cref="ArgumentException">They cannot be used; the message says why.</exception>
    public static void Validate(IPhysicalMemory physical, int needed)
    {
        if (physical.ShadowPages < needed)
        {
            throw new ArgumentException(
                $"There are {physical.ShadowPages} shadow pages; these options need {needed} "
                + $"({nameof(OpTeeForwarderOptions)}.{nameof(OpTeeForwarderOptions.ShadowPages)}).",
                nameof(physical));
        }

        for (int index = 0; index < needed; index++)
        {
            int size = physical.GetShadowPage(index, out PhysicalAddress address).Length;
            if (size < OpTeeMessage.PageSize || address.Value == 0 || address.Value % OpTeeMessage.PageSize != 0)
            {
                throw new ArgumentException(
                    $"Shadow page {index} has {size} bytes at {address}; it must have {OpTeeMessage.PageSize}, aligned "
                    + "to as many, and not at 0.",
                    nameof(physical));
            }
        }
    }

    public int ShadowPages => _shadowPages.Length;

    /// <summary>The physical address of a shadow page, as it was when the VM was created.</summary>
    public PhysicalAddress AddressOfShadowPage(int index) => _shadowPages[index];

    /// <summary>The 4096 bytes of a shadow page, unless the VMM's memory throws or gives fewer.</summary>
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
