namespace OpTeeMediator.Linux.Companion;

/// <summary>What a core of OP-TEE has done.</summary>
/// <remarks>One thread at a time counts; any may read, each number by itself.</remarks>
internal sealed class CoreStatistics
{
    private long _fastCalls;
    private long _yieldingCalls;
    private long _preemptions;
    private long _interrupts;
    private long _deviceAccesses;
    private long _registers;
    private long _ticks;

    internal void CountCall(bool isFast, bool isPreempted)
    {
        Add(ref isFast ? ref _fastCalls : ref _yieldingCalls, 1);
        Add(ref _preemptions, isPreempted ? 1 : 0);
    }

    internal void CountInterrupt() => Add(ref _interrupts, 1);

    internal void CountDeviceAccess() => Add(ref _deviceAccesses, 1);

    internal void CountRegister() => Add(ref _registers, 1);

    internal void CountRun(long ticks) => Add(ref _ticks, ticks);

    /// <summary>These and others together.</summary>
    internal OpTeeCompanionStatistics AddTo(OpTeeCompanionStatistics others) => new(
        others.FastCalls + Volatile.Read(ref _fastCalls), others.YieldingCalls + Volatile.Read(ref _yieldingCalls),
        others.Preemptions + Volatile.Read(ref _preemptions), others.NativeInterrupts + Volatile.Read(ref _interrupts),
        others.DeviceAccesses + Volatile.Read(ref _deviceAccesses),
        others.RegisterAccesses + Volatile.Read(ref _registers),
        others.TimeInTee
            + TimeSpan.FromSeconds((double)Volatile.Read(ref _ticks) / System.Diagnostics.Stopwatch.Frequency));

    // There is one writer at a time, and 64-bit numbers are written whole.
    private static void Add(ref long counter, long amount) => Volatile.Write(ref counter, counter + amount);
}
