using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Rpc;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>The instruments of docs/diagnostics.md are those that a guest's calls use, with their kinds, units and
/// tags, and so are their names in Prometheus.</summary>
internal sealed partial class MetricTableTests
{
    private static readonly string[] s_ofHistogram = ["_bucket", "_sum", "_count"];

    private static string Page => string.Join(
        '\n', Repository.Files.Single(file => file.Path == "docs/diagnostics.md").Lines);

    [Test]
    public async Task Table_OfMetrics_HasEveryInstrumentAsGuestsUseIt()
    {
        string[] used = [.. (await UseAllAsync()).Select(one => $"{one.Key.Name} {KindOf(one.Key)} {one.Key.Unit} "
            + string.Join(", ", one.Value))];

        string[] documented = [.. Row().Matches(Page).Select(row => $"{row.Groups["name"]} {row.Groups["kind"]} "
            + $"{row.Groups["unit"]} {row.Groups["tags"].Value.Replace("`", "", StringComparison.Ordinal).Trim()}")];
        Assert.That(documented, Is.EquivalentTo(used));
        Assert.That(used, Has.Length.EqualTo(12));
    }

    [Test]
    public async Task List_OfPrometheusNames_HasEveryInstrument()
    {
        string[] names = [.. (await UseAllAsync()).Select(one =>
            PrometheusNameOf(one.Key) + (one.Value.Count == 0 ? "" : $"{{{string.Join(", ", one.Value)}}}"))];

        Assert.That(Listed().Matches(Page).Select(line => line.Value), Is.EquivalentTo(names));
    }

    [Test]
    public async Task Queries_ForADashboard_NameInstrumentsThatExist()
    {
        HashSet<string> names =
        [
            .. (await UseAllAsync()).SelectMany(one => one.Key is Histogram<double>
                ? s_ofHistogram.Select(suffix => PrometheusNameOf(one.Key) + suffix)
                : [PrometheusNameOf(one.Key)]),
        ];

        string[] queried = [.. Queried().Matches(Page).Select(found => found.Value).Distinct()];
        Assert.That(queried, Is.SubsetOf(names));
        Assert.That(queried, Has.Length.GreaterThan(5));
    }

    /// <summary>Makes calls that use each instrument. Returns the tags of each but the VM's name.</summary>
    private static async Task<Dictionary<Instrument, SortedSet<string>>> UseAllAsync()
    {
        string vm = Guid.NewGuid().ToString();
        ConcurrentQueue<(Instrument Instrument, string[] Tags)> measured = new();
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == OpTeeMetrics.MeterName)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<int>((instrument, _, tags, _) => Add(instrument, tags));
        listener.SetMeasurementEventCallback<long>((instrument, _, tags, _) => Add(instrument, tags));
        listener.SetMeasurementEventCallback<double>((instrument, _, tags, _) => Add(instrument, tags));
        listener.Start();
        await CallAsync(vm, listener);

        Dictionary<Instrument, SortedSet<string>> used = [];
        foreach ((Instrument instrument, string[] tags) in measured)
        {
            _ = used.TryAdd(instrument, new SortedSet<string>(StringComparer.Ordinal));
            used[instrument].UnionWith(tags);
        }

        return used;

        void Add(Instrument instrument, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (tags[0] is { Key: "vm", Value: string name } && name == vm)
            {
                measured.Enqueue((instrument, [.. tags[1..].ToArray().Select(tag => tag.Key)]));
            }
        }
    }

    private static async Task CallAsync(string vm, MeterListener listener)
    {
        TaskCompletionSource<TeeResult> end = new();
        await using GuestBench bench = new(new OpTeeGuestOptions
        {
            Name = vm,
            NotificationInterrupt = new CountingLine(),
            Quantum = TimeSpan.FromMilliseconds(5),
            SleepAfter = TimeSpan.FromMilliseconds(1),
        });
        RpcServices services = new(bench.Driver);
        bench.Driver.OnRpc = message =>
        {
            if (message.Command == OpTeeRpc.Notification)
            {
                end.TrySetResult(TeeResult.Success);
            }

            return services.Serve(message);
        };
        uint session = bench.Open();

        // Preempted, while there are no notifications; then asleep, with a request; then refused.
        bench.Backend.OnInvoke = _ => new(end.Task);
        PendingCall preempted = bench.StartInvoke(session);
        end.SetResult(TeeResult.Success);
        _ = bench.Finish(preempted);
        end = new();
        _ = bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        bench.Backend.OnInvoke = async request =>
        {
            _ = await request.Guest!.GetTimeAsync();
            return await end.Task;
        };
        _ = bench.Driver.Invoke(session, 0);
        _ = bench.Driver.Invoke(77, 0);
        listener.RecordObservableInstruments();
    }

    private static string KindOf(Instrument instrument) => instrument switch
    {
        Counter<long> => "counter",
        Histogram<double> => "histogram",
        ObservableUpDownCounter<int> => "up-down counter",
        _ => instrument.GetType().Name,
    };

    // Dots become underscores; the unit follows, unless it is one in braces; then _total for a counter.
    private static string PrometheusNameOf(Instrument instrument) => instrument.Name.Replace('.', '_')
        + (instrument.Unit == "s" ? "_seconds" : "")
        + (instrument is Counter<long> ? "_total" : "");

    [GeneratedRegex(
        @"^\| `(?<name>opteemediator\.[\w.]+)` \| (?<kind>[\w -]+) \| `(?<unit>[^`]+)` \| (?<tags>[^|]*)\|",
        RegexOptions.Multiline)]
    private static partial Regex Row();

    [GeneratedRegex(@"^opteemediator_\w+(\{[\w, ]+\})?$", RegexOptions.Multiline)]
    private static partial Regex Listed();

    [GeneratedRegex(@"(?<=[ (])opteemediator_\w+")]
    private static partial Regex Queried();
}
