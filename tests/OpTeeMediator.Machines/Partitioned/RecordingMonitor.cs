using System.Collections.Concurrent;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>Remembers all SMCs that are made.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class RecordingMonitor(ISecureMonitor inner) : ISecureMonitor
{
    private readonly ConcurrentQueue<RecordedCall> _calls = new();

    /// <summary>The calls so far, in the order of their ends.</summary>
    public IReadOnlyCollection<RecordedCall> Calls => _calls;

    public void MakeCall(ref SmcRegisters registers)
    {
        SmcRegisters made = registers;
        inner.MakeCall(ref registers);
        _calls.Enqueue(new RecordedCall(made, registers));
    }
}
