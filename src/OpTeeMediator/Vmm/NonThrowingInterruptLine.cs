using System.Globalization;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Vmm;

/// <summary>The VMM's interrupt line, which may throw, as one that does not: a pulse that throws is repeated until one
/// succeeds. A pulse of a paused VM is kept until the pause ends.</summary>
/// <remarks>Without the repetition a call of the guest that sleeps would sleep for ever. A pulse too many does no harm:
/// the guest asks what it is for. Thread-safe.</remarks>
internal sealed class NonThrowingInterruptLine : IInterruptLine, IDisposable
{
    /// <summary>The time between a pulse that has failed and the next one.</summary>
    public static readonly TimeSpan RepeatAfter = TimeSpan.FromMilliseconds(100);

    private readonly IInterruptLine _line;
    private readonly VmPause _pause;
    private readonly ILogger _log;
    private readonly LogRateLimit _limit = new();
    private readonly ITimer _timer;
    private bool _isDue;

    /// <exception cref="Exception">What the VMM's <see cref="IInterruptLine.Spi"/> throws.</exception>
    public NonThrowingInterruptLine(IInterruptLine line, VmPause pause, ILogger log)
        : this(line, pause, log, TimeProvider.System)
    {
    }

    public NonThrowingInterruptLine(IInterruptLine line, VmPause pause, ILogger log, TimeProvider time)
    {
        _line = line;
        _pause = pause;
        _log = log;
        Spi = line.Spi;
        _timer = time.CreateTimer(
            static self => ((NonThrowingInterruptLine)self!).PulseIfDue(), this, Timeout.InfiniteTimeSpan,
            Timeout.InfiniteTimeSpan);
    }

    public int Spi { get; }

    /// <summary>Whether a pulse is due that was not raised yet.</summary>
    public bool IsDue => Volatile.Read(ref _isDue);

    /// <summary>A line for a log entry.</summary>
    public static string Describe(NonThrowingInterruptLine? line) =>
        line is null ? "none" : string.Create(CultureInfo.InvariantCulture, $"by SPI {line.Spi}");

    public void Pulse()
    {
        // A full fence: either the pause is seen here, or who ends it sees that a pulse is due.
        _ = Interlocked.Exchange(ref _isDue, true);
        PulseIfDue();
    }

    /// <summary>Raises the interrupt if that is due and the VM is not paused. Called also when a pause ends.</summary>
    public void PulseIfDue()
    {
        if (!_pause.TryEnter())
        {
            return;
        }

        try
        {
            if (Interlocked.Exchange(ref _isDue, false))
            {
                _line.Pulse();
            }
        }
        catch (Exception exception)
        {
            Volatile.Write(ref _isDue, true);
            if (_limit.TryPass(out long suppressed))
            {
                _log.InterruptFailed(suppressed, exception);
            }

            _ = _timer.Change(RepeatAfter, Timeout.InfiniteTimeSpan);
        }
        finally
        {
            _pause.Exit();
        }
    }

    public void Dispose() => _timer.Dispose();
}
