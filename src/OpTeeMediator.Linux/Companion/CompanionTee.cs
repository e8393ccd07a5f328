using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Linux.Companion;

/// <summary>One OP-TEE, from its start to its failure or end. Thread-safe.</summary>
internal sealed class CompanionTee : IDisposable
{
    /// <summary>The section of its memory.</summary>
    internal const string MemorySection = "MEMO";

    private const string CoreSection = "CORE";

    private static readonly long RetryTicks = Stopwatch.Frequency / 100;

    private readonly ICompanionVm _vm;
    private readonly ICompanionSupervisor _supervisor;
    private readonly string _name;
    private readonly ILogger _log;
    private readonly LogRateLimit _failures;
    private readonly SuspendedCalls _suspended = new();
    private readonly CompanionCores _cores;
    private readonly Lock _end = new();
    private TeeFailure _failure;
    private int _callsInFlight;
    private int _hasEnded;
    private bool _awaitsDriver;
    private bool _isDisposed;

    internal CompanionTee(
        ICompanionVm vm, TimeSpan quantum, ICompanionSupervisor supervisor, string name, ILogger log,
        LogRateLimit failures)
    {
        _vm = vm;
        _supervisor = supervisor;
        _name = name;
        _log = log;
        _failures = failures;
        _cores = new CompanionCores(
            [.. Enumerable.Range(0, vm.Cpus.Length).Select(index => new CompanionCore(index, this, vm, quantum))],
            quantum);
    }

    internal ImmutableArray<CompanionCore> Cores => _cores.All;

    /// <summary>Its memory.</summary>
    internal TrackedGuestMemory Memory => _vm.Memory;

    /// <summary>Where OP-TEE is entered.</summary>
    internal VectorTable Vectors { get; private set; }

    internal bool HasStarted { get; private set; }

    internal bool HasEnded => Volatile.Read(ref _hasEnded) != 0;

    /// <summary>Whether it has replaced one that failed and waits for a driver to begin again: what an old driver still
    /// knows (calls, sessions, buffers) means nothing to it.</summary>
    internal bool AwaitsDriver
    {
        get => Volatile.Read(ref _awaitsDriver);
        set => Volatile.Write(ref _awaitsDriver, value);
    }

    /// <summary>Yielding calls that have begun and not ended.</summary>
    internal int CallsInFlight => HasEnded ? 0 : Volatile.Read(ref _callsInFlight);

    internal OpTeeCompanionStatistics Statistics
    {
        get
        {
            OpTeeCompanionStatistics sum = default;
            foreach (CompanionCore core in Cores)
            {
                sum = core.Statistics.AddTo(sum);
            }

            return sum;
        }
    }

    /// <summary>Starts it, and returns what it has reserved; throws, and says what it did instead.</summary>
    internal IReadOnlyList<GuestRange> Start(ulong entry, ulong deviceTree)
    {
        CompanionCore first = _cores.TakeFirst();
        try
        {
            _vm.LoadImage();
            bool hasStarted = first.TryReadFrequency(out ulong frequency);
            if (hasStarted && frequency == 0)
            {
                throw new TeeUnavailableException(
                    "The companion VM does not know its counter's frequency: the host's firmware has left CNTFRQ_EL0"
                        + " at 0.");
            }

            foreach (CompanionCore core in Cores)
            {
                core.Prepare(frequency);
            }

            VectorTable vectors = default;
            hasStarted = hasStarted && first.TryStart(entry, deviceTree, out vectors);
            Vectors = vectors;
            lock (_end)
            {
                // Even if it has: the watchdog may just have ended it, and nobody replaces what has not started.
                if (!hasStarted || HasEnded)
                {
                    throw new TeeUnavailableException(
                        $"OP-TEE has not started in its companion VM: {_failure}. Is the image one for EL1 under"
                            + $" opteed, and the platform the one it was built for? On processors without EL3 an SMC"
                            + $" of the VM may be undefined, and no OP-TEE can start."
                            + $" {nameof(OpTeeCompanionOptions.LogsConsole)} shows what it says.");
                }

                HasStarted = true;
            }
        }
        finally
        {
            _cores.Release(first);
        }

        return ReservedMemoryReader.TryRead(_vm.ReadDeviceTree(), out List<GuestRange> reserved)
            ? reserved
            : throw new TeeUnavailableException("OP-TEE has left no valid device tree behind; build it with CFG_DT=y.");
    }

    /// <summary>Writes its state while no core runs; all of it, or the rest after the rounds of a copy.</summary>
    /// <exception cref="InvalidOperationException">A core is in use: the VM is not paused.</exception>
    internal void Save(VmStateWriter state, CompanionContent content) => _cores.WhileNoneRuns(() =>
    {
        new SavedCalls(
            Cores[0].Frequency, Vectors, AwaitsDriver, Volatile.Read(ref _callsInFlight),
            [.. Cores.Select(core => core.IsOn)]).Write(state, _suspended);
        using (Stream section = state.BeginSection(MemorySection))
        {
            if (content == CompanionContent.Rest)
            {
                _ = GuestMemoryState.SavePages(Memory.Inner, Memory.TakeWritten(), section);
            }
            else
            {
                GuestMemoryState.Save(Memory.Inner, section);
            }
        }

        using (Stream section = state.BeginSection(CoreSection))
        {
            _vm.SaveCores(section);
        }
    });

    /// <summary>Goes on where another one was saved, and returns what it has reserved. Its memory is empty, or has
    /// what was copied before.</summary>
    /// <exception cref="InvalidDataException">The state makes no sense, or is that of another kind of host.</exception>
    /// <exception cref="TeeUnavailableException">KVM's VM does not run.</exception>
    internal IReadOnlyList<GuestRange> Restore(VmStateReader state, CompanionContent content)
    {
        CompanionCore first = _cores.TakeFirst();
        try
        {
            SavedCalls calls = SavedCalls.Read(state, Cores.Length, _suspended);
            Vectors = calls.Vectors;
            AwaitsDriver = calls.AwaitsDriver;
            _callsInFlight = calls.InFlight;
            RestoreMemory(state.OpenSection(MemorySection), content);
            if (!first.TryReadFrequency(out ulong found))
            {
                throw new TeeUnavailableException($"The companion VM does not run: {_failure}.");
            }

            if (found != calls.Frequency)
            {
                throw new InvalidDataException(
                    $"The counter of this host has {found} Hz, that of the saved state {calls.Frequency} Hz.");
            }

            foreach (CompanionCore core in Cores)
            {
                core.Prepare(found);
            }

            _vm.RestoreCores(state.OpenSection(CoreSection));
            foreach (CompanionCore core in Cores)
            {
                core.Continue(calls.CoresOn[core.Index]);
            }

            lock (_end)
            {
                if (HasEnded)
                {
                    throw new TeeUnavailableException($"OP-TEE has not been restored: {_failure}.");
                }

                HasStarted = true;
            }
        }
        finally
        {
            _cores.Release(first);
        }

        return ReservedMemoryReader.TryRead(_vm.ReadDeviceTree(), out List<GuestRange> reserved)
            ? reserved
            : throw new InvalidDataException("The saved OP-TEE has no valid device tree.");
    }

    internal SmcRegisterSet InputsOf(in SmcRegisters registers, SmcRegisterSet loaded) =>
        SmcFilter.Inputs(registers.FunctionId.WithoutHint.Value, loaded, registers.X3, _suspended);

    /// <summary>Answers a guest's call, on the thread of the vCPU that makes it.</summary>
    internal SmcOutcome Call(ref SmcRegisters registers, SmcRegisterSet inputs)
    {
        CompanionCore? core = _cores.Take();
        if (core is null)
        {
            return HasEnded ? SmcFilter.Refuse(ref registers) : SmcOutcome.Retry;
        }

        try
        {
            if (registers.FunctionId.WithoutHint.Value == OpTeeSmc.ReturnFromRpc
                && !_suspended.TryResume(registers.X3, SmcFilter.HasArguments(inputs)))
            {
                registers.X0 = OpTeeSmc.ReturnResume;
                return SmcOutcome.Handled(SmcRegisterSet.X0);
            }

            bool isFast = registers.FunctionId.IsFast;
            if (!isFast && registers.FunctionId.WithoutHint.Value != OpTeeSmc.ReturnFromRpc)
            {
                _ = Interlocked.Increment(ref _callsInFlight);
            }

            if (!core.TryCall(ref registers, inputs, out SmcRegisterSet changed))
            {
                return SmcFilter.Refuse(ref registers);
            }

            if (!isFast && OpTeeRegisters.IsRpc((uint)registers.X0))
            {
                _suspended.Note((uint)registers.X0, registers.X3);
            }
            else if (!isFast && (uint)registers.X0 != OpTeeSmc.ReturnResume)
            {
                _ = Interlocked.Decrement(ref _callsInFlight);
            }

            return SmcOutcome.Handled(changed);
        }
        finally
        {
            _cores.Release(core);
        }
    }

    /// <summary>Serves the timers that are due. Returns when to call again, by <see cref="Stopwatch"/>.</summary>
    internal long ServeTimers(long now)
    {
        long next = long.MaxValue;
        foreach (CompanionCore core in Cores)
        {
            if (core.TimerDue <= now && core.TryTake(core.Thread))
            {
                try
                {
                    _ = core.TryInterrupt();
                }
                catch
                {
                    // KVM cannot go on with it.
                    Fail(new TeeFailure(core.Index, TeeFailureCause.HostFailure, 0, 0));
                    throw;
                }
                finally
                {
                    _cores.Release(core);
                }
            }

            // A core in use serves its interrupts itself; one that leaves its timer in the past wants none now.
            long after = Stopwatch.GetTimestamp();
            next = long.Min(next, core.TimerDue <= after ? after + RetryTicks : core.TimerDue);
        }

        return HasEnded ? long.MaxValue : next;
    }

    internal void OnRun() => _supervisor.OnRun();

    internal void OnTimer(long due) => _supervisor.OnTimer(due);

    /// <summary>It has failed: no core of it runs any more, or is about to come back.</summary>
    internal void Fail(TeeFailure failure)
    {
        // One that does not even start is the business of who starts it.
        bool isSupervised;
        lock (_end)
        {
            if (HasEnded)
            {
                return;
            }

            _failure = failure;
            isSupervised = HasStarted;
            if (isSupervised)
            {
                _supervisor.OnFailing();
            }

            End();
        }

        // A guest that can make its OP-TEE panic can do so again and again.
        if (_failures.TryPass(out long suppressed))
        {
            _log.CompanionFailed(_name, failure, suppressed);
        }

        if (isSupervised)
        {
            _supervisor.OnFailed();
        }
    }

    /// <summary>Ends it while it is started: nobody waits for it any more.</summary>
    internal void Abort()
    {
        lock (_end)
        {
            if (!_isDisposed && !HasEnded)
            {
                _failure = new TeeFailure(0, TeeFailureCause.Aborted, 0, 0);
                End();
            }
        }
    }

    /// <summary>Ends it, waits until no thread is in it, and frees all it had.</summary>
    public void Dispose()
    {
        lock (_end)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
            End();
        }

        _cores.TakeAllForGood();
        try
        {
            _vm.Dispose();
        }
        catch (Exception exception)
        {
            // The next one can be started all the same.
            _log.CompanionNotEnded(_name, exception);
        }
    }

    private void RestoreMemory(Stream section, CompanionContent content)
    {
        if (content == CompanionContent.Rest)
        {
            GuestMemoryState.RestorePages(Memory.Inner, section);
        }
        else
        {
            GuestMemoryState.Restore(Memory.Inner, section);
        }
    }

    private void End()
    {
        Volatile.Write(ref _hasEnded, 1);
        foreach (CompanionCore core in Cores)
        {
            try
            {
                core.Kick();
            }
            catch (Exception exception)
            {
                // The other cores, and the threads that wait for one, must end.
                _log.CompanionNotEnded(_name, exception);
            }
        }

        _cores.EndWaits();
    }
}
