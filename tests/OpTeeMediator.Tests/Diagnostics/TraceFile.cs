using System.Text;
using System.Text.Json;

namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>The file of a trace, checked record by record as it is read.</summary>
/// <remarks>
/// What viewers ask of it: each record has its fields; a track has one name, given before its first span; the spans of
/// a track lie in each other or beside each other; the arrow of a call begins once, ends once, goes forward in time,
/// and each of its points lies in a span of an SMC.
/// </remarks>
internal sealed class TraceFile
{
    // Times are rounded to 1 ns.
    private const double Rounding = 0.0021;

    private readonly List<TraceRecord> _records = [];

    public TraceFile(MemoryStream file)
    {
        string text = Encoding.UTF8.GetString(file.ToArray());
        using JsonDocument document = JsonDocument.Parse(text);
        foreach (JsonElement element in document.RootElement.EnumerateArray())
        {
            _records.Add(TraceRecord.Read(element));
        }

        CheckNames();
        CheckNesting();
        CheckFlows();
        Assert.That(_records[^1].Phase, Is.EqualTo("i"), "The last record says that the trace ends.");
    }

    public IEnumerable<TraceRecord> Spans => _records.Where(record => record.Phase == "X");

    /// <summary>The spans of a call, outermost first.</summary>
    public TraceRecord[] SpansOf(long call) =>
        [.. Spans.Where(span => span.Call == call).OrderBy(span => span.Start).ThenByDescending(span => span.End)];

    public string[] FlowOf(long call) =>
        [.. _records.Where(record => record.Flow == call).OrderBy(record => record.Start).Select(one => one.Phase)];

    private void CheckNames()
    {
        HashSet<(int Vm, int Track)> named = [];
        HashSet<int> vms = [];
        foreach (TraceRecord record in _records)
        {
            switch (record.Phase)
            {
                case "M" when record.Name == "process_name":
                    Assert.That(vms.Add(record.Vm), $"VM {record.Vm} is named twice.");
                    break;
                case "M":
                    Assert.That(record.Name, Is.EqualTo("thread_name"));
                    Assert.That(named.Add((record.Vm, record.Track)), $"Track {record.Track} is named twice.");
                    break;
                case "X":
                    Assert.That(vms, Does.Contain(record.Vm));
                    Assert.That(named, Does.Contain((record.Vm, record.Track)), record.ToString());
                    break;
                case "s" or "t" or "f":
                    Assert.That(record.Flow, Is.Positive);
                    break;
                default:
                    Assert.That(record.Phase, Is.EqualTo("i"));
                    break;
            }
        }
    }

    private void CheckNesting()
    {
        foreach (var track in Spans.GroupBy(span => (span.Vm, span.Track)))
        {
            Stack<TraceRecord> open = new();
            foreach (TraceRecord span in track.OrderBy(span => span.Start).ThenByDescending(span => span.End))
            {
                while (open.TryPeek(out TraceRecord? outer) && outer.End <= span.Start + Rounding)
                {
                    _ = open.Pop();
                }

                if (open.TryPeek(out TraceRecord? around))
                {
                    Assert.That(span.End, Is.LessThanOrEqualTo(around.End + Rounding), $"{span} crosses {around}.");
                }

                open.Push(span);
            }
        }
    }

    private void CheckFlows()
    {
        foreach (var flow in _records.Where(record => record.Flow != 0).GroupBy(record => record.Flow))
        {
            TraceRecord[] points = [.. flow];
            Assert.That(points.Select(point => point.Start), Is.Ordered, $"The arrow of call {flow.Key}.");
            Assert.That(points[0].Phase, Is.EqualTo("s"));
            Assert.That(points[1..].SkipLast(1).Select(point => point.Phase), Is.All.EqualTo("t"));
            foreach (TraceRecord point in points)
            {
                Assert.That(Spans.Any(span => span.Vm == point.Vm && span.Track == point.Track
                    && span.Call == point.Flow && span.Start <= point.Start && point.Start <= span.End + Rounding),
                    $"{point} lies in no SMC.");
            }
        }
    }
}
