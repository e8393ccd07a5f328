using System.Globalization;
using OpTeeMediator.Linux.Guests;

namespace KvmVmm.Cpus;

/// <summary>What the calls of a vCPU have cost: on arm64 each register read or written is a system call.</summary>
/// <remarks>Not thread-safe: each vCPU has its own.</remarks>
internal sealed class CallCosts
{
    private long _calls;
    private long _reads;
    private long _writes;

    /// <summary>Adds a call.</summary>
    /// <param name="report">What it has cost.</param>
    public void Add(SmcccCallReport report)
    {
        _calls++;
        _reads += report.RegisterReads;
        _writes += report.RegisterWrites;
    }

    /// <summary>Adds those of another vCPU.</summary>
    /// <param name="other">The other's.</param>
    public void Add(CallCosts other)
    {
        _calls += other._calls;
        _reads += other._reads;
        _writes += other._writes;
    }

    /// <inheritdoc/>
    public override string ToString() => _calls == 0
        ? "It made no call of the TEE."
        : string.Create(
            CultureInfo.InvariantCulture,
            $"It made {_calls} calls of the TEE; registers read per call: {(double)_reads / _calls:f2}, "
            + $"written: {(double)_writes / _calls:f2}.");
}
