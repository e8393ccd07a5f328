using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using OpTeeMediator.Diagnostics;

namespace KvmVmm.Tee;

/// <summary>Listens to the meter of OpTeeMediator, and writes at the end how often each thing was and how long it
/// took.</summary>
internal sealed class MetricsReport : IDisposable
{
    private readonly MeterListener _listener = new();
    private readonly Lock _lock = new();
    private readonly SortedDictionary<string, (long Count, double Sum)> _measured = new(StringComparer.Ordinal);

    public MetricsReport()
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == OpTeeMetrics.MeterName && !instrument.IsObservable)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.Start();
    }

    public void Dispose()
    {
        _listener.Dispose();
        lock (_lock)
        {
            foreach ((string name, (long count, double sum)) in _measured)
            {
                Console.Error.WriteLine(
                    string.Create(CultureInfo.InvariantCulture, $"{name} {count} {sum:0.#########}"));
            }
        }
    }

    private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        StringBuilder name = new(instrument.Name);
        foreach ((string key, object? tag) in tags)
        {
            // There is one VM.
            _ = key == "vm" ? name : name.Append(CultureInfo.InvariantCulture, $" {key}={tag}");
        }

        lock (_lock)
        {
            (long count, double sum) = _measured.GetValueOrDefault(name.ToString());
            _measured[name.ToString()] = (count + 1, sum + value);
        }
    }
}
