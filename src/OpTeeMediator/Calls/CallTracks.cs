using System.Globalization;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Calls;

/// <summary>The tracks of a VM in a trace: one of each vCPU's thread, and two of each call slot, because the backend
/// works while the guest has the call.</summary>
internal sealed class CallTracks(int vm)
{
    // Above the numbers of threads.
    private const int FirstOfSlots = 1_000_000;

    public TraceSpan OfCpu(string name, long start, long end, long call, string answer)
    {
        int thread = Environment.CurrentManagedThreadId;
        return new(vm, thread, Thread.CurrentThread.Name ?? NameOf("thread", thread), name, start, end, call, answer);
    }

    public TraceSpan OfCall(CallTimeline call, string name, long start, long end, string? result = null) => new(
        vm, FirstOfSlots + (2 * (call.Slot + 1)), NameOf("call in slot", call.Slot), name, start, end,
        call.Number, result);

    public TraceSpan OfBackend(CallTimeline call, string name, long start, long end) => new(
        vm, FirstOfSlots + (2 * (call.Slot + 1)) + 1, NameOf("TEE for slot", call.Slot), name, start, end,
        call.Number, null);

    private static string NameOf(string kind, int number) =>
        string.Create(CultureInfo.InvariantCulture, $"{kind} {number}");
}
