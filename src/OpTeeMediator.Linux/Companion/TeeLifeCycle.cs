using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Memory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The OP-TEEs of one VM, one after the other: start, replacement after a failure, reset, save, end.</summary>
/// <remarks>
/// <code>
///  Start ──────────────► starts ──────────► serves ◄──── a driver begins ──── waits for a driver
///  Restore ─────────────────────────────────► │                                  ▲
///                           ▲                 │ fails                            │
///                           └─── Reset ───────┴────────────► starts, by the maintenance
/// </code>
/// Changes happen one at a time, in a lock; calls see the OP-TEE of now without it. Thread-safe.
/// </remarks>
internal sealed class TeeLifeCycle : ICompanionSupervisor, IDisposable
{
    private readonly IGuestOpTee _companion;
    private readonly CompanionSetup _setup;
    private readonly OpTeeCompanionOptions _options;
    private readonly CompanionState _state;
    private readonly VmPause _pause;
    private readonly NonThrowingInterruptLine? _line;
    private readonly ILogger _log;
    private readonly LogRateLimit _teeFailures = new();
    private readonly LogRateLimit _replacements = new();
    private readonly Watchdog _watchdog = null!;
    private readonly CompanionMaintenance _maintenance = null!;
    private readonly Lock _changes = new();
    private readonly ManualResetEventSlim _isCommitted = new(initialState: true);
    private volatile CompanionTee? _tee;
    private volatile CompanionTee? _starting;
    private volatile bool _isDisposed;
    private OpTeeCompanionCopy? _copy;
    private TimeSpan _lastStart;
    private int _starts;

    /// <summary>Prepares; there is no OP-TEE yet.</summary>
    internal TeeLifeCycle(
        IGuestOpTee companion, CompanionSetup setup, VmPause pause, NonThrowingInterruptLine? line)
    {
        _companion = companion;
        _setup = setup;
        _options = setup.Options;
        _state = new CompanionState(setup.Options, setup.GuestMemory);
        _pause = pause;
        _line = line;
        _log = setup.Log;
        try
        {
            _watchdog = new Watchdog(_options.AnswerDeadline, _options.StartDeadline, _options.Name, _log);
            _maintenance = new CompanionMaintenance(Replace, pause, _options.Name, _log);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The OP-TEE of now, which may have failed.</summary>
    internal CompanionTee? Tee => _tee;

    internal bool IsDisposed => _isDisposed;

    /// <summary>Wakes those who wait in the guest's driver for one that has failed.</summary>
    internal WakeUps WakeUps { get; } = new();

    internal OpTeeCompanionStatus Status
    {
        get
        {
            CompanionTee? tee = _tee;
            return new OpTeeCompanionStatus(
                tee is { HasEnded: false, AwaitsDriver: false }, _starts, _lastStart, tee?.Statistics ?? default);
        }
    }

    internal void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_isDisposed, _companion);

    /// <summary>Starts the first one, and returns what it has reserved.</summary>
    internal IReadOnlyList<GuestRange> Start() => StartTee(awaitsDriver: false);

    /// <summary>Goes on, in a pause, with one that was saved, and returns what it has reserved.</summary>
    internal IReadOnlyList<GuestRange> Restore(VmStateReader state, OpTeeCompanionArrival? arrival)
    {
        CompanionContent content = _state.ReadBeginning(state, out bool isInterruptDue);
        _ = _pause.PauseAsync(static () => true, TimeSpan.Zero, CancellationToken.None);
        IReadOnlyList<GuestRange> reserved;
        if (content == CompanionContent.NoTee)
        {
            state.Complete();
            arrival?.Dispose();
            reserved = StartTee(awaitsDriver: true);
            WakeCallers();
        }
        else
        {
            reserved = RestoreTee(state, content, arrival);
        }

        if (isInterruptDue)
        {
            // Kept until the VM is resumed.
            _line?.Pulse();
        }

        return reserved;
    }

    /// <summary>Saves what a paused VM has.</summary>
    internal void Save(Stream target, VmStateOptions stateOptions, OpTeeCompanionCopy? copy)
    {
        lock (_changes)
        {
            ThrowIfDisposed();
            if (!_pause.IsPaused)
            {
                throw new InvalidOperationException(
                    $"Pause the VM before its OP-TEE is saved ({nameof(OpTeeCompanion.PauseAsync)}).");
            }

            if (copy is not null && copy != _copy)
            {
                throw new ArgumentException("The copy is another companion's, or has ended.", nameof(copy));
            }

            CompanionTee? tee = Serving;
            CompanionContent content = tee is null ? CompanionContent.NoTee
                : copy is not null && copy.Has(tee) ? CompanionContent.Rest : CompanionContent.Whole;
            using VmStateWriter state = new(target, stateOptions);
            try
            {
                _state.Begin(state, _line is { IsDue: true }, content);
                if (content == CompanionContent.Rest)
                {
                    copy!.Mark(state);
                }

                tee?.Save(state, content);
                state.Complete();
            }
            finally
            {
                copy?.Dispose();
            }
        }
    }

    /// <summary>Starts another one, as the guest starts again.</summary>
    internal void Reset()
    {
        // One that replaces another, and may hang until its deadline.
        _starting?.Abort();
        _pause.EnterUnheld();
        try
        {
            lock (_changes)
            {
                ThrowIfDisposed();
                _ = StartTee(awaitsDriver: false);
            }
        }
        finally
        {
            _pause.Exit();
        }
    }

    internal OpTeeCompanionCopy StartCopy(VmStateOptions stateOptions)
    {
        lock (_changes)
        {
            ThrowIfDisposed();
            return _copy is null
                ? _copy = new OpTeeCompanionCopy(this, stateOptions)
                : throw new InvalidOperationException("OP-TEE's memory is being copied already; end that copy.");
        }
    }

    internal void EndCopy(OpTeeCompanionCopy copy, Action end)
    {
        lock (_changes)
        {
            try
            {
                end();
            }
            finally
            {
                _copy = _copy == copy ? null : _copy;
            }
        }
    }

    /// <summary>Does something with the OP-TEE that serves, if there is one, which stays meanwhile.</summary>
    internal T WithTee<T>(Func<CompanionTee?, T> work)
    {
        lock (_changes)
        {
            ThrowIfDisposed();
            return work(Serving);
        }
    }

    /// <summary>Waits, for a quantum at most, until it is certain whether another one has replaced one that has
    /// failed.</summary>
    internal bool WaitForReplacement() => _isCommitted.Wait(WholeMilliseconds.AtLeast(_options.Quantum));

    /// <summary>The pause has ended.</summary>
    internal void OnResumed()
    {
        _line?.PulseIfDue();
        _maintenance.OnResumed();
    }

    void ICompanionSupervisor.OnRun() => _watchdog.OnRun();

    void ICompanionSupervisor.OnTimer(long due) => _maintenance.OnTimer(due);

    void ICompanionSupervisor.OnFailing() => _isCommitted.Reset();

    void ICompanionSupervisor.OnFailed()
    {
        WakeCallers();
        _maintenance.Replace();
    }

    /// <summary>Ends the OP-TEE, and aborts one that is being started.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        Interlocked.MemoryBarrier();
        _starting?.Abort();
        lock (_changes)
        {
            _tee?.Dispose();
        }

        // In this order: the watchdog may still be telling the maintenance of a failure.
        _watchdog?.Dispose();
        _maintenance?.Dispose();

        // There will be no other OP-TEE for those who wait for one.
        _isCommitted.Set();
    }

    private CompanionTee? Serving => _tee is { HasEnded: false } tee ? tee : null;

    private IReadOnlyList<GuestRange> StartTee(bool awaitsDriver)
    {
        GuestAddress entry = _options.Image.Address ?? _options.Platform.SecureMemory.Start;
        IReadOnlyList<GuestRange> reserved =
            BeginTee(
                awaitsDriver, () => _setup.CreateVm(copied: null),
                tee => tee.Start(entry.Value, _options.Platform.DeviceTree.Value));
        _log.CompanionStarted(_options.Name, (long)_lastStart.TotalMilliseconds, _options.CoreCount);
        return reserved;
    }

    private IReadOnlyList<GuestRange> RestoreTee(
        VmStateReader state, CompanionContent content, OpTeeCompanionArrival? arrival)
    {
        Func<ICompanionVm> createVm = () => TakeVm(state, arrival);
        if (content == CompanionContent.Whole)
        {
            // What was copied is that of an OP-TEE that runs no more.
            arrival?.Dispose();
            createVm = () => _setup.CreateVm(copied: null);
        }

        IReadOnlyList<GuestRange> reserved = BeginTee(
            awaitsDriver: false,
            createVm,
            tee =>
            {
                IReadOnlyList<GuestRange> ranges = tee.Restore(state, content);
                state.Complete();
                return ranges;
            });
        _log.CompanionRestored(_options.Name, (long)_lastStart.TotalMilliseconds);
        return reserved;
    }

    private static ICompanionVm TakeVm(VmStateReader state, OpTeeCompanionArrival? arrival) =>
        (arrival ?? throw new InvalidDataException(
            $"The saved OP-TEE was moved while it ran: the state has only the rest of its memory, and what was copied"
                + $" before is missing ({nameof(OpTeeCompanionArrival)})."))
        .Take(state);

    /// <summary>Makes an OP-TEE in the place of the present one, and has it serve when it has begun.</summary>
    private IReadOnlyList<GuestRange> BeginTee(
        bool awaitsDriver, Func<ICompanionVm> createVm, Func<CompanionTee, IReadOnlyList<GuestRange>> begin)
    {
        long begun = Stopwatch.GetTimestamp();
        _tee?.Dispose();
        CompanionTee tee = CreateTee(awaitsDriver, createVm());
        try
        {
            // Either a disposal is seen here, or it sees what to give up.
            _starting = tee;
            Interlocked.MemoryBarrier();
            ThrowIfDisposed();
            _watchdog.Serve(tee);
            IReadOnlyList<GuestRange> reserved = begin(tee);
            _maintenance.Serve(tee);
            _lastStart = Stopwatch.GetElapsedTime(begun);
            _starts++;
            _tee = tee;
            return reserved;
        }
        catch
        {
            tee.Dispose();
            throw;
        }
        finally
        {
            _starting = null;
        }
    }

    private CompanionTee CreateTee(bool awaitsDriver, ICompanionVm vm)
    {
        try
        {
            vm.Line = _line;
            return new CompanionTee(vm, _options.Quantum, this, _options.Name, _log, _teeFailures)
            {
                AwaitsDriver = awaitsDriver,
            };
        }
        catch
        {
            vm.Dispose();
            throw;
        }
    }

    /// <summary>For those who wait in the driver for an OP-TEE that has failed.</summary>
    private void WakeCallers()
    {
        if (_line is not null)
        {
            WakeUps.Begin();
            _line.Pulse();
        }
    }

    /// <summary>On the maintenance's thread: replaces the OP-TEE that has failed.</summary>
    private void Replace()
    {
        try
        {
            lock (_changes)
            {
                // A reset may have been faster.
                if (!_isDisposed && _tee is { HasEnded: true })
                {
                    _ = StartTee(awaitsDriver: true);
                    if (_replacements.TryPass(out _))
                    {
                        _log.CompanionReplaced(_options.Name, (long)_lastStart.TotalMilliseconds);
                    }
                }
            }
        }
        catch (Exception exception)
        {
            _log.ReplacementFailed(_options.Name, exception);
        }
        finally
        {
            _isCommitted.Set();
        }
    }
}
