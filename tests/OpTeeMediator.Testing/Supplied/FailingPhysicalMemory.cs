using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>Physical memory of which one call fails.</summary>
public sealed class FailingPhysicalMemory(IPhysicalMemory inner, FailurePlan plan) : IPhysicalMemory
{
    public int ShadowPages
    {
        get
        {
            plan.Enter(nameof(ShadowPages));
            return inner.ShadowPages;
        }
    }

    public bool TryTranslate(GuestAddress address, out PhysicalAddress physical, out ulong length)
    {
        plan.Enter(nameof(TryTranslate));
        return inner.TryTranslate(address, out physical, out length);
    }

    public Span<byte> GetShadowPage(int index, out PhysicalAddress physical)
    {
        plan.Enter(nameof(GetShadowPage));
        return inner.GetShadowPage(index, out physical);
    }
}
