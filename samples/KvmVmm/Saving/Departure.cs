using System.Diagnostics;
using System.Runtime.InteropServices;
using KvmVmm.CommandLine;
using KvmVmm.HostConsole;
using KvmVmm.Machine;
using KvmVmm.Migration;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.State;

namespace KvmVmm.Saving;

/// <summary>Saves a running VM at SIGUSR1, and moves it at SIGUSR2, while this object exists.</summary>
internal sealed class Departure : IAsyncDisposable
{
    // On arm64 and x86-64.
    private const PosixSignal SaveSignal = (PosixSignal)10;
    private const PosixSignal MoveSignal = (PosixSignal)12;

    private readonly VmmOptions _options;
    private readonly TrackedGuestMemory _memory;
    private readonly DiskFile? _disk;
    private readonly TeeWiring _tee;
    private readonly GuestConsole _console;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _halt = new();
    private readonly Lock _gate = new();
    private readonly SaveTimes _times = new();
    private readonly PosixSignalRegistration? _save;
    private readonly PosixSignalRegistration? _move;
    private Task _preparation = Task.CompletedTask;
    private MigrationSource? _migration;
    private bool _isDisposed;
    private bool _isHeld;
    private bool _isMove;

    /// <summary>Listens to the signals for which there are options.</summary>
    /// <param name="options">Name the file and the address.</param>
    /// <param name="memory">Its memory.</param>
    /// <param name="disk">Its disk.</param>
    /// <param name="tee">Its TEE.</param>
    /// <param name="console">Its console.</param>
    /// <param name="log">Where to log.</param>
    public Departure(
        VmmOptions options, TrackedGuestMemory memory, DiskFile? disk, TeeWiring tee, GuestConsole console, ILogger log)
    {
        _options = options;
        _memory = memory;
        _disk = disk;
        _tee = tee;
        _console = console;
        _log = log;
        _save = options.Save is null ? null : Register(SaveSignal, HaltAsync);
        _move = options.MigrateTo is null ? null : Register(MoveSignal, PrepareMoveAsync);
    }

    /// <summary>Is cancelled when the machine is to halt.</summary>
    public CancellationToken Halt => _halt.Token;

    /// <summary>Saves or moves a machine that has halted.</summary>
    /// <param name="machine">The machine.</param>
    /// <returns>How it has ended; <see cref="MachineEnd.Halted"/> if it must go on here.</returns>
    public async Task<MachineEnd> LeaveAsync(VirtualMachine machine)
    {
        await _preparation;
        long begin = Stopwatch.GetTimestamp();
        bool isPaused = await _tee.PauseAsync();
        _times.Tee = Stopwatch.GetElapsedTime(begin);
        _console.HaltInput();
        _console.FlushOutput();
        try
        {
            if (!isPaused)
            {
                throw new InvalidOperationException("its TEE does not come to a halt.");
            }

            await LeavePausedAsync(machine);
            _isHeld = false;
            _tee.GoesOnElsewhere();
            return _isMove ? MachineEnd.Moved : MachineEnd.Saved;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or BootException
            or SystemCallException or NotSupportedException or InvalidOperationException or OpTeeStateException
            or MigrationException)
        {
            NotLeft(failure);
            _console.ContinueInput();
            return MachineEnd.Halted;
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _save?.Dispose();
        _move?.Dispose();
        lock (_gate)
        {
            _isDisposed = true;
            _migration?.Dispose();
        }

        await _preparation;
        ResumeTee();
        _halt.Dispose();
    }

    private PosixSignalRegistration Register(PosixSignal signal, Func<Task> prepare) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            lock (_gate)
            {
                if (_preparation.IsCompleted && !_halt.IsCancellationRequested && !_isDisposed)
                {
                    _isMove = signal == MoveSignal;
                    _preparation = Task.Run(prepare);
                }
            }
        });

    private async Task PrepareMoveAsync()
    {
        try
        {
            MigrationSource migration = MigrationSource.Connect(_options, _memory, _tee.StartCopy);
            lock (_gate)
            {
                _migration = migration;
                if (_isDisposed)
                {
                    migration.Dispose();
                }
            }

            migration.CopyWhileRunning(_disk);
            await HaltAsync();
        }
        catch (Exception failure) when (failure is IOException or BootException or SystemCallException
            or MigrationException)
        {
            NotLeft(failure);
        }
    }

    /// <summary>Halts the machine when no operation is left at its TEE, if that comes in time.</summary>
    private async Task HaltAsync()
    {
        try
        {
            _isHeld = true;
            long begin = Stopwatch.GetTimestamp();
            Task<bool> drain = _tee.DrainAsync();
            _log.Halting();
            _ = await drain;
            _times.Drain = Stopwatch.GetElapsedTime(begin);
            _times.PauseBegin = Stopwatch.GetTimestamp();
            await _halt.CancelAsync();
        }
        catch (ObjectDisposedException)
        {
            // The guest has ended meanwhile.
        }
    }

    private async Task LeavePausedAsync(VirtualMachine machine)
    {
        if (_migration is { } migration)
        {
            (int rounds, long bytes, long teeBytes) =
                await Task.Run(
                    () => migration.Finish(SaveTee, machine.Save, _tee.Digest, _disk, _times));
            _log.Moved(
                rounds, bytes, teeBytes, _times.Drain.TotalSeconds, Paused().TotalSeconds, _times.Tee.TotalSeconds);
        }
        else
        {
            (long size, long teeSize) =
                await StateFile.SaveAsync(_options, _memory.Inner, _disk, _tee, machine, _times);
            _log.Saved(size, teeSize, _times.Drain.TotalSeconds, Paused().TotalSeconds, _times.Tee.TotalSeconds);
        }

        void SaveTee(Stream section, OpTeeCompanionCopy? copy) =>
            _tee.SaveAsync(section, copy).GetAwaiter().GetResult();

        TimeSpan Paused() => Stopwatch.GetElapsedTime(_times.PauseBegin);
    }

    private void NotLeft(Exception failure)
    {
        if (_isMove)
        {
            _log.NotMoved(_isDisposed ? "its guest has ended, or starts again." : failure.Message);
        }
        else
        {
            _log.NotSaved(failure.Message);
        }

        lock (_gate)
        {
            _migration?.Dispose();
            _migration = null;
        }

        ResumeTee();
    }

    // Of a guest that goes on here, or starts again.
    private void ResumeTee()
    {
        if (_isHeld)
        {
            _isHeld = false;
            _tee.Resume();
        }
    }
}
