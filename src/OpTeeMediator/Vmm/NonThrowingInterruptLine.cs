using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Vmm;

/// <summary>The VMM's interrupt line, which may throw, as one that does not: a pulse that throws is repeated
/// until one succeeds.</summary>
/// <remarks>
/// Without the repetition a call of the guest that sleeps would sleep for ever. A pulse too many does no harm: the
/// guest asks what it is for. Thread-safe.
/// </remarks>
internal sealed class NonThrowingInterruptLine : IInterruptLine, IDisposable
{
    /// <summary>The time between a pulse that has failed and the next one.</summary>
    public static readonly TimeSpan RepeatAfter = TimeSpan.FromMilliseconds(100);

    private readonly IInterruptLine _line;
    private readonly ILogger _log;
    private readonly LogRateLimit _limit = new();
    private readonly ITimer _timer;

    /// <exception cref="Exception">What the VMM's <see cref="IInterruptLine.Spi"/> throws.</exception>
    public NonThrowingInterruptLine(IInterruptLine line, ILogger log)
        : this(line, log, TimeProvider.System)
    {
    }

    public NonThrowingInterruptLine(IInterruptLine line, ILogger log, TimeProvider time)
    {
        _line = line;
        _log = log;
        Spi = line.Spi;
        _timer = time.CreateTimer(
            static self =>
                ((NonThrowingInterruptLine)self!).Pulse(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    public int Spi { get; }

    public void Pulse()
    {
        try
        {
            _line.Pulse();
        }
        catch (Exception exception)
        {
            if (_limit.TryPass(out long suppressed))
            {
                _log.InterruptFailed(suppressed, exception);
            }

            _ = _timer.Change(RepeatAfter, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>The VM is gone: no pulse is repeated any more.</summary>
    public void Dispose() => _timer.Dispose();
}
