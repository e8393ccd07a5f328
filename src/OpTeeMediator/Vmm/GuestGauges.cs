using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Vmm;

/// <summary>The instruments that say what the guests of this process hold. Thread-safe.</summary>
/// <remarks>A guest that is not disposed of is not kept by them.</remarks>
internal sealed class GuestGauges
{
    private readonly ConditionalWeakTable<IGuestOpTee, string> _guests = [];

    private GuestGauges(Meter meter)
    {
        Create(meter, "opteemediator.calls_in_flight", "{call}", "Calls that have begun and not ended.",
            static status => status.CallsInFlight);
        Create(meter, "opteemediator.sessions", "{session}", "Open sessions.", static status => status.Sessions);
        Create(meter, "opteemediator.shared_buffers", "{buffer}", "Shared buffers.", static status => status.Buffers);
        Create(meter, "opteemediator.shared_pages", "{page}", "Pages of 4 KiB of shared buffers.",
            static status => status.SharedPages);
    }

    public static GuestGauges Shared { get; } = new(OpTeeMetrics.Meter);

    public void Add(IGuestOpTee guest, string name) => _guests.AddOrUpdate(guest, name);

    public void Remove(IGuestOpTee guest) => _ = _guests.Remove(guest);

    private void Create(
        Meter meter, string name, string unit, string description, Func<OpTeeGuestStatus, int?> valueOf) =>
        _ = meter.CreateObservableUpDownCounter(name, () => Measure(valueOf), unit, description);

    private IEnumerable<Measurement<int>> Measure(Func<OpTeeGuestStatus, int?> valueOf)
    {
        foreach ((IGuestOpTee guest, string name) in _guests)
        {
            if (valueOf(guest.Status) is { } value)
            {
                yield return new Measurement<int>(value, new KeyValuePair<string, object?>("vm", name));
            }
        }
    }
}
