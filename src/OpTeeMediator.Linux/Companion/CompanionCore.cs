using System.Diagnostics;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Linux.Companion;

/// <summary>A core of OP-TEE and the switch between the worlds on it.</summary>
/// <remarks>
/// <code>
///  guest's vCPU                      this class                          OP-TEE's core
///  smc ──────────► X0, arguments ──► X0…X6, PC = vector ───────────────► takes the call
///                                    the device accesses it makes ◄────► …
///  X0…X3 ◄──────── what changed ◄─── X1…X4 ◄──────────────────────────── smc CALL_DONE
/// </code>
/// The thread that has taken it (<see cref="TryTake"/>) owns it, so no lock is needed. Others call only the members
/// that say so.
/// </remarks>
internal sealed class CompanionCore(int index, CompanionTee tee, ICompanionVm vm, TimeSpan quantum)
{
    // EL1h, all interrupts masked.
    private const ulong InitialState = 0x3c5;

    // CNTP_CTL_EL0.ENABLE and IMASK.
    private const ulong TimerEnable = 1;
    private const ulong TimerMask = 2;

    // In years. Not the highest number, to which qemu 7.2 adds the counter's offset, beyond 64 bits.
    private const ulong Never = 1UL << 56;

    private const int ArgumentCount = 7;

    private readonly ICompanionCpu _cpu = vm.Cpus[index];
    private ulong _frequency;
    private ulong _quantumTicks;
    private int _isTaken;
    private long _runs;
    private long _timerDue = long.MaxValue;
    private ulong _timerCompare;

    internal int Index => index;

    /// <summary>The frequency of its counter in Hz.</summary>
    internal ulong Frequency => _frequency;

    /// <summary>The kernel's number of the thread that has taken it last, for which it is the best choice: KVM makes
    /// moves of a vCPU expensive. Any thread may read it.</summary>
    internal int Thread { get; private set; }

    /// <summary>Whether OP-TEE runs on it.</summary>
    internal bool IsOn { get; set; }

    /// <summary>Odd while it runs, a new number each time, for the watchdog. Any thread may read it.</summary>
    internal long Runs => Volatile.Read(ref _runs);

    /// <summary>When OP-TEE's timer on it is due, as <see cref="Stopwatch"/> counts; <see cref="long.MaxValue"/> for
    /// never. Any thread may read it.</summary>
    internal long TimerDue => Volatile.Read(ref _timerDue);

    internal CoreStatistics Statistics { get; } = new();

    /// <summary>Takes the core for the calling thread, if it is free. Any thread may call.</summary>
    internal bool TryTake(int thread)
    {
        if (Volatile.Read(ref _isTaken) != 0 || Interlocked.Exchange(ref _isTaken, 1) != 0)
        {
            return false;
        }

        Thread = thread;
        return true;
    }

    /// <summary>Releases the core, with a full fence.</summary>
    internal void Release() => Interlocked.Exchange(ref _isTaken, 0);

    /// <summary>Makes it come back from where it is. Any thread may call.</summary>
    internal void Kick() => _cpu.Kick();

    /// <summary>Asks a core, before it starts, for the frequency of its counter in Hz, if it answers.</summary>
    internal bool TryReadFrequency(out ulong frequency)
    {
        Set(Arm64Register.Pc, vm.FrequencyCode);
        Set(0, OpteedCall.Unused);
        bool isAnswered = TryRun(OpteedCall.Unused);

        // CNTFRQ_EL0 has 32 bits.
        frequency = isAnswered ? (uint)Get(1) : 0;
        return isAnswered;
    }

    /// <summary>Prepares it before its first instruction: its virtual timer is the monitor's, not OP-TEE's.</summary>
    internal void Prepare(ulong frequency)
    {
        _frequency = frequency;
        _quantumTicks = (ulong)(quantum.TotalSeconds * frequency);
        _cpu.Set(Arm64Register.VirtualTimerCompare, Never);
        _cpu.Set(Arm64Register.VirtualTimerControl, TimerEnable);
    }

    /// <summary>Goes on with a core whose registers were restored.</summary>
    internal void Continue(bool isOn)
    {
        IsOn = isOn;
        if (isOn)
        {
            NoteTimer();
        }
    }

    /// <summary>Starts OP-TEE on it, if it answers that it has.</summary>
    internal bool TryStart(ulong entry, ulong deviceTree, out VectorTable vectors)
    {
        vectors = default;
        EnterAt(entry, argument2: deviceTree);
        if (!TryRun(OpteedCall.EntryDone))
        {
            return false;
        }

        vectors = new VectorTable(Get(1));
        IsOn = true;
        NoteTimer();
        return true;
    }

    /// <summary>Answers a guest's call, unless OP-TEE has ended.</summary>
    internal bool TryCall(ref SmcRegisters registers, SmcRegisterSet inputs, out SmcRegisterSet changed)
    {
        changed = SmcRegisterSet.None;
        if (!IsOn && !TryTurnOn())
        {
            return false;
        }

        // As a monitor does: OP-TEE knows no hint, and its fast calls look at whole registers.
        SmcFunctionId id = registers.FunctionId.WithoutHint;
        Set(0, id.Value);
        SmcRegisterSet arguments = inputs.Except(SmcRegisterSet.X0);
        while (SmcRegisterSet.TryTakeFirst(ref arguments, out int index))
        {
            Set(index, (uint)registers[index]);
        }

        if (id.IsFast)
        {
            // OP-TEE hands back what it has no value for. On a real machine that is the guest's own; here it would be
            // what OP-TEE has left: its addresses, say.
            SmcRegisterSet leftovers = SmcFilter.FastOutputs.Except(inputs);
            while (SmcRegisterSet.TryTakeFirst(ref leftovers, out int index))
            {
                Set(index, 0);
            }
        }
        else
        {
            Set(Arm64Register.VirtualTimerCompare, Get(Arm64Register.VirtualCounter) + _quantumTicks);
        }

        Set(Arm64Register.Pc, id.IsFast ? tee.Vectors.FastCall : tee.Vectors.YieldingCall);
        if (!TryRun(OpteedCall.CallDone))
        {
            return false;
        }

        registers.X0 = Get(1);
        changed = SmcFilter.Outputs(id.IsFast, (uint)registers.X0);
        SmcRegisterSet results = changed.Except(SmcRegisterSet.X0);
        while (SmcRegisterSet.TryTakeFirst(ref results, out int index))
        {
            registers[index] = Get(index + 1);
        }

        NoteTimer();
        Statistics.CountCall(
            isFast: id.IsFast,
            isPreempted: !id.IsFast && (uint)registers.X0 == Protocol.OpTeeSmc.ReturnRpcForeignInterrupt);
        return true;
    }

    /// <summary>Has OP-TEE serve its own interrupt, as its timer has come, unless OP-TEE has ended.</summary>
    internal bool TryInterrupt()
    {
        // The end of an earlier quantum, still pending, would be in this interrupt's way.
        Set(Arm64Register.VirtualTimerCompare, Never);
        Set(Arm64Register.Pc, tee.Vectors.NativeInterrupt);
        if (!TryRun(OpteedCall.InterruptDone))
        {
            return false;
        }

        // Looks again even if OP-TEE has left the timer as it was.
        _timerCompare = 0;
        NoteTimer();
        Statistics.CountInterrupt();
        return true;
    }

    private bool TryTurnOn()
    {
        EnterAt(tee.Vectors.CpuOn, argument2: 0);
        IsOn = TryRun(OpteedCall.OnDone);
        return IsOn;
    }

    private void EnterAt(ulong address, ulong argument2)
    {
        for (int index = 0; index <= ArgumentCount; index++)
        {
            Set(index, index == 2 ? argument2 : 0);
        }

        Set(Arm64Register.Pstate, InitialState);
        Set(Arm64Register.Pc, address);
    }

    private bool TryRun(uint expected)
    {
        long begin = Stopwatch.GetTimestamp();
        _ = Interlocked.Increment(ref _runs);
        tee.OnRun();
        try
        {
            while (!tee.HasEnded)
            {
                switch (_cpu.Run())
                {
                    case KvmExitReason.Interrupted:
                        break;

                    case KvmExitReason.Mmio:
                        Statistics.CountDeviceAccess();
                        vm.Access(Index, _cpu.Mmio);
                        break;

                    case KvmExitReason.Hypercall
                        when _cpu.Hypercall is { IsSmc: true } call && (uint)call.Number == expected:
                        return true;

                    case KvmExitReason.Hypercall:
                        Fail(TeeFailureCause.UnexpectedCall, _cpu.Hypercall.Number);
                        break;

                    case KvmExitReason other:
                        Fail(TeeFailureCause.UnexpectedExit, (ulong)other);
                        break;
                }
            }

            return false;
        }
        finally
        {
            _ = Interlocked.Increment(ref _runs);
            Statistics.CountRun(Stopwatch.GetTimestamp() - begin);
        }
    }

    private void Fail(TeeFailureCause cause, ulong number) =>
        tee.Fail(new TeeFailure(Index, cause, number, _cpu.Get(Arm64Register.Pc)));

    /// <summary>Looks whether OP-TEE has set its timer: while the core does not run, KVM does not watch it.</summary>
    private void NoteTimer()
    {
        if ((Get(Arm64Register.PhysicalTimerControl) & (TimerEnable | TimerMask)) != TimerEnable)
        {
            Volatile.Write(ref _timerDue, long.MaxValue);
            _timerCompare = 0;
            return;
        }

        ulong compare = Get(Arm64Register.PhysicalTimerCompare);
        if (compare == _timerCompare)
        {
            return;
        }

        _timerCompare = compare;
        ulong now = Get(Arm64Register.PhysicalCounter);
        double ticks = compare > now ? (double)(compare - now) / _frequency * Stopwatch.Frequency : 0;

        // A sum beyond 64 bits would be in the past.
        long due = ticks < long.MaxValue / 2 ? Stopwatch.GetTimestamp() + (long)ticks : long.MaxValue;
        _ = Interlocked.Exchange(ref _timerDue, due);
        tee.OnTimer(due);
    }

    private ulong Get(int index) => Get(Arm64Register.X(index));

    private void Set(int index, ulong value) => Set(Arm64Register.X(index), value);

    private ulong Get(Arm64Register register)
    {
        Statistics.CountRegister();
        return _cpu.Get(register);
    }

    private void Set(Arm64Register register, ulong value)
    {
        Statistics.CountRegister();
        _cpu.Set(register, value);
    }
}
