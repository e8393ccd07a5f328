using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>Listens to the meter, and keeps the measurements of one VM; other tests have VMs too.</summary>
internal sealed class VmMeasurements : IDisposable
{
    private readonly ConcurrentQueue<Measured> _measured = new();
    private readonly MeterListener _listener = new();
    private readonly string _vm;

    public VmMeasurements(string vm, Func<Instrument, bool>? isWanted = null)
    {
        _vm = vm;
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == OpTeeMetrics.MeterName && (isWanted?.Invoke(instrument) ?? true))
            {
                Names.Add(instrument.Name);
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.Start();
    }

    public HashSet<string> Names { get; } = [];

    public IEnumerable<Measured> All => _measured;

    /// <summary>The sum of an instrument's measurements with these tags.</summary>
    public double Sum(string instrument, string tags = "") =>
        _measured.Where(one => one.Instrument == instrument && one.Tags == tags).Sum(one => one.Value);

    public int Count(string instrument, string tags = "") =>
        _measured.Count(one => one.Instrument == instrument && one.Tags == tags);

    /// <summary>What an observable instrument says now; <see langword="null"/> for nothing.</summary>
    public double? Observe(string instrument)
    {
        _measured.Clear();
        _listener.RecordObservableInstruments();
        return _measured.SingleOrDefault(one => one.Instrument == instrument)?.Value;
    }

    public void Dispose() => _listener.Dispose();

    private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (tags[0] is { Key: "vm", Value: string vm } && vm == _vm)
        {
            string others = string.Join(' ', tags[1..].ToArray().Select(tag => $"{tag.Key}={tag.Value}"));
            _measured.Enqueue(new(instrument.Name, value, others));
        }
    }
}
