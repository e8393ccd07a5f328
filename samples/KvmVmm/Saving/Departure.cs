using System.Diagnostics;
using System.Runtime.InteropServices;
using KvmVmm.CommandLine;
using KvmVmm.HostConsole;
using KvmVmm.Machine;
using KvmVmm.Migration;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;

namespace KvmVmm.Saving;

/// <summary>Saves a running VM at SIGUSR1, and moves it at SIGUSR2, while this object exists.</summary>
internal sealed class Departure : IAsyncDisposable
{
    // On arm64 and x86-64.
    private const PosixSignal SaveSignal = (PosixSignal)10;
    private const PosixSignal MoveSignal = (PosixSignal)12;

    // A destination waits for MigrationConnection.Patience; and the less is left, the shorter is the pause.
    private static readonly TimeSpan CopyInterval = TimeSpan.FromSeconds(5);

    private readonly VmmOptions _options;
    private readonly TrackedGuestMemory _memory;
    private readonly DiskFile? _disk;
    private readonly TeeWiring _tee;
    private readonly GuestConsole _console;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _halt = new();
    private readonly CancellationTokenSource _end = new();
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
        Action logSuccess;
        try
        {
            long begin = Stopwatch.GetTimestamp();
            bool isPaused = await _tee.PauseAsync();
            _times.Tee = Stopwatch.GetElapsedTime(begin);
            _console.HaltInput();
            _console.FlushOutput();
            if (!isPaused)
            {
                throw new InvalidOperationException("its TEE does not come to a halt.");
            }

            logSuccess = await LeavePausedAsync(machine);
        }
        catch (Exception failure)
        {
            // Whatever it was, nobody else has the VM.
            GoOnHere(failure);
            _console.ContinueInput();
            return MachineEnd.Halted;
        }

        // From here on nothing may let the VM go on in this process, too.
        _isHeld = false;
        await _tee.AbandonAsync();
        logSuccess();
        return _isMove ? MachineEnd.Moved : MachineEnd.Saved;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _save?.Dispose();
        _move?.Dispose();
        lock (_gate)
        {
            _isDisposed = true;
        }

        await _end.CancelAsync();
        await _preparation;
        _migration?.Dispose();
        ResumeTee();
        _halt.Dispose();
        _end.Dispose();
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
                    _preparation = Task.Run(() => PrepareAsync(prepare));
                }
            }
        });

    private async Task PrepareAsync(Func<Task> prepare)
    {
        try
        {
            await prepare();
        }
        catch (Exception failure)
        {
            // Whatever it was, the guest runs here.
            GoOnHere(failure);
        }
    }

    private async Task PrepareMoveAsync()
    {
        _migration = MigrationSource.Connect(_options, _memory, _tee.StartCopy, _end.Token);
        _migration.CopyWhileRunning(_disk);
        await HaltAsync();
    }

    /// <summary>Halts the machine when no operation is left at its TEE, or when that takes too long.</summary>
    private async Task HaltAsync()
    {
        _isHeld = true;
        long begin = Stopwatch.GetTimestamp();
        Task<bool> drain = _tee.DrainAsync(TimeSpan.FromSeconds(_options.SaveWait), _end.Token);
        _log.Halting();
        while (_migration is { } migration && await Task.WhenAny(drain, Task.Delay(CopyInterval)) != drain)
        {
            migration.CopyAgain();
        }

        if (!await drain)
        {
            _log.NotDrained(_options.SaveWait);
        }

        _times.Drain = Stopwatch.GetElapsedTime(begin);
        _times.PauseBegin = Stopwatch.GetTimestamp();
        await _halt.CancelAsync();
    }

    /// <summary>Saves or moves the VM.</summary>
    /// <returns>What logs that it goes on elsewhere. If this throws, it does not.</returns>
    private async Task<Action> LeavePausedAsync(VirtualMachine machine)
    {
        if (_migration is { } migration)
        {
            (int rounds, long bytes, long teeBytes) =
                await Task.Run(
                    () => migration.Finish(SaveTee, machine.Save, _tee.Digest, _disk, _times));
            TimeSpan moved = Stopwatch.GetElapsedTime(_times.PauseBegin);
            return () => _log.Moved(
                rounds, bytes, teeBytes, _times.Drain.TotalSeconds, moved.TotalSeconds, _times.Tee.TotalSeconds);
        }

        (long size, long teeSize) = await StateFile.SaveAsync(_options, _memory.Inner, _disk, _tee, machine, _times);
        TimeSpan saved = Stopwatch.GetElapsedTime(_times.PauseBegin);
        return () => _log.Saved(
            size, teeSize, _times.Drain.TotalSeconds, saved.TotalSeconds, _times.Tee.TotalSeconds);

        void SaveTee(Stream section, OpTeeCompanionCopy? copy) =>
            _tee.SaveAsync(section, copy).GetAwaiter().GetResult();
    }

    /// <summary>Says why the VM is not saved or moved. It goes on here, if its guest does.</summary>
    private void GoOnHere(Exception failure)
    {
        string reason = _end.IsCancellationRequested ? "its guest has ended, or starts again." : failure.Message;
        if (_isMove)
        {
            _log.NotMoved(reason);
        }
        else
        {
            _log.NotSaved(reason);
        }

        _migration?.Dispose();
        _migration = null;
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
