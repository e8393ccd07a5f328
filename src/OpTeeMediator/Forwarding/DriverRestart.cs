using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>Starts a driver: cleans up what an earlier one left, in pieces between the guest's interrupts.</summary>
/// <remarks>The first piece is done by EXCHANGE_CAPABILITIES, which then succeeds, because Linux does not try its probe
/// again; each yielding call of the new driver does another one. Where OP-TEE does not release something, the VM is
/// destroyed and created in OP-TEE, as often as the options allow. Thread-safe.</remarks>
internal sealed class DriverRestart(
    VmPhases phases,
    VmRegistration registration,
    VmResources vm,
    DriverCleanup cleanup,
    DeferredRequests deferred,
    ForwardedFastCalls fastCalls,
    OpTeeForwarderOptions options)
{
    // How long a driver that starts waits for other vCPUs to return from OP-TEE; they do so at their next interrupt.
    private static readonly TimeSpan WaitForOthers = TimeSpan.FromMilliseconds(100);

    // How long a vCPU does cleanup before the guest continues. Both end at the first interrupt.
    private static readonly TimeSpan CleanupAtStart = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan CleanupAtCall = TimeSpan.FromMilliseconds(5);

    private long _cleanupStart;

    /// <summary>A driver starts: cleans up after an earlier one, or begins to. Fails if it cannot be served.</summary>
    public bool TryBeginDriver()
    {
        if (phases.Current == VmPhase.Serving && (!options.ResetOnCapabilityExchange || !vm.HasLeftovers))
        {
            return true;
        }

        long start = Stopwatch.GetTimestamp();
        VmPhase former;
        while ((former = phases.TryBegin(VmPhase.Restarting)) == VmPhase.CleanupRunning
            && Stopwatch.GetElapsedTime(start) <= WaitForOthers)
        {
            Thread.Yield();
        }

        if (!VmPhases.MayEnd(former))
        {
            return false;
        }

        VmPhase next = former;
        try
        {
            if (!phases.WaitUntilAlone(start, WaitForOthers))
            {
                return false;
            }

            deferred.Discard();
            next = former == VmPhase.NotCreated ? registration.CreateAgain() : CleanUp(former, CleanupAtStart);
            return next is VmPhase.Serving or VmPhase.CleanupPending;
        }
        finally
        {
            // Also after an exception: others wait for the end of this phase.
            EndPiece(next);
        }
    }

    /// <summary>Handles a call that depends on the cleanup; <see langword="null"/> if it is served as always.</summary>
    public SmcOutcome? HandleDuringCleanup(uint functionId, ref SmcRegisters registers)
    {
        switch (functionId)
        {
            case OpTeeSmc.CallWithArgument:
            case OpTeeSmc.CallWithRpcArgument:
                return ContinueCleanup() switch
                {
                    VmPhase.Serving => null,
                    VmPhase.CleanupRunning or VmPhase.CleanupPending => deferred.Defer(ref registers),
                    _ => registers.Answer(OpTeeSmc.ReturnNotAvailable),
                };

            case OpTeeSmc.CallWithRegisteredArgument:
                // The new driver cannot have registered anything yet.
                return registers.Answer(OpTeeSmc.ReturnBadAddress);

            case OpTeeSmc.ReturnFromRpc:
                return registers.Answer(OpTeeSmc.ReturnResume);

            case OpTeeSmc.EnableShmCache:
                // Linux would wait indefinitely for any other answer.
                deferred.SetEnableShmCache(true);
                MakeDeferredCallsIfServing();
                return registers.Answer(OpTeeSmc.ReturnOk);

            case OpTeeSmc.DisableShmCache:
                // The new driver has no buffers there.
                deferred.SetEnableShmCache(false);
                return registers.Answer(OpTeeSmc.ReturnNotAvailable);

            case OpTeeSmc.EnableAsyncNotification when fastCalls.HasNotifications:
                deferred.SetEnableNotifications();
                MakeDeferredCallsIfServing();
                return registers.Answer(OpTeeSmc.ReturnOk);

            default:
                return null;
        }
    }

    /// <summary>Cleans up for a reset that may not have OP-TEE destroy the VM. No vCPU runs.</summary>
    public async Task<VmPhase> CleanUpAsync(VmPhase former)
    {
        registration.ReportLimit();
        long start = Stopwatch.GetTimestamp();
        Begin(former, start);
        while (true)
        {
            CleanupProgress progress = cleanup.Step();
            if (progress == CleanupProgress.Done)
            {
                return VmPhase.Serving;
            }

            if (progress == CleanupProgress.Failed || Stopwatch.GetElapsedTime(start) >= options.ShutdownDeadline)
            {
                throw new TeeUnavailableException(
                    $"OP-TEE did not release what the driver of VM {registration.Id} has, and the VM was "
                    + $"destroyed and created {registration.Recreations} times already "
                    + $"({nameof(OpTeeForwarderOptions)}.{nameof(OpTeeForwarderOptions.RecreationLimit)}).");
            }

            if (progress == CleanupProgress.Interrupted)
            {
                await Task.Delay(1);
            }
        }
    }

    /// <summary>Does a piece of the cleanup, unless another vCPU does. Serving if the cleanup has ended.</summary>
    private VmPhase ContinueCleanup()
    {
        VmPhase phase = phases.TryBegin(VmPhase.CleanupRunning);
        if (VmPhases.MayCleanUp(phase))
        {
            try
            {
                phase = CleanUp(phase, CleanupAtCall);
            }
            finally
            {
                EndPiece(phase);
            }
        }

        return phase;
    }

    /// <summary>Does a piece of the cleanup; destroys and creates the VM in OP-TEE where nothing else helps.</summary>
    private VmPhase CleanUp(VmPhase former, TimeSpan atMost)
    {
        long start = Stopwatch.GetTimestamp();
        Begin(former, start);
        CleanupProgress progress;
        do
        {
            progress = cleanup.Step();
        }
        while (progress == CleanupProgress.Advanced && Stopwatch.GetElapsedTime(start) < atMost);

        return progress switch
        {
            CleanupProgress.Done => VmPhase.Serving,
            CleanupProgress.Failed => Recreate(),
            _ when Stopwatch.GetElapsedTime(_cleanupStart) >= options.ShutdownDeadline => Recreate(),
            _ => former == VmPhase.CleanupBlocked ? VmPhase.CleanupBlocked : VmPhase.CleanupPending,
        };
    }

    private void Begin(VmPhase former, long start)
    {
        if (former == VmPhase.Serving)
        {
            cleanup.Begin();
            _cleanupStart = start;
        }
    }

    /// <summary>Has OP-TEE destroy the VM and create it again, as often as that is allowed.</summary>
    private VmPhase Recreate()
    {
        if (registration.IsAtLimit)
        {
            registration.ReportLimit();
            return VmPhase.CleanupBlocked;
        }

        return registration.TryDestroyToRecreate() ? registration.CreateAgain() : VmPhase.CleanupBlocked;
    }

    private void EndPiece(VmPhase next)
    {
        InterleavingPoint.Reach("DriverRestart.EndPiece: about to change the phase");

        // A deferred request is noted before its call looks at the phase; the phase changes before this looks for
        // requests. One of the two sees the other.
        phases.End(next);
        MakeDeferredCallsIfServing();
    }

    private void MakeDeferredCallsIfServing()
    {
        if (phases.Current != VmPhase.Serving)
        {
            return;
        }

        SmcRegisters unused = default;
        if (deferred.TryTakeEnableShmCache())
        {
            _ = fastCalls.EnableShmCache(ref unused);
        }

        if (deferred.TryTakeEnableNotifications())
        {
            _ = fastCalls.EnableNotifications(ref unused);
        }
    }
}
