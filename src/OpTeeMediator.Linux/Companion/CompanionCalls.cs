using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Answers the guest's calls: has the VM's OP-TEE serve them, and refuses or repeats those for which there is
/// none. Thread-safe.</summary>
internal sealed class CompanionCalls(
    TeeLifeCycle lifeCycle, VmPause pause, OpTeeCompanionOptions options, ILogger log)
{
    private readonly LogRateLimit _failures = new();

    /// <summary>What the guest is not offered, though OP-TEE may.</summary>
    /// <remarks>Notifications without an interrupt to deliver them: Linux's driver would not start. Protected memory:
    /// what OP-TEE calls so is memory of its own VM, not of the guest's.</remarks>
    private readonly OpTeeCapabilities _notOffered =
        OpTeeCapabilities.ProtectedMemory | OpTeeCapabilities.DynamicProtectedMemory
        | (options.NotificationInterrupt is null
            ? OpTeeCapabilities.AsynchronousNotifications
            : OpTeeCapabilities.None);

    /// <summary>Answers a call, on the thread of the vCPU that makes it.</summary>
    internal SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        if (!OpTeeFunctions.Contains(registers.FunctionId))
        {
            return SmcOutcome.NotHandled;
        }

        if (!pause.TryEnter())
        {
            if (lifeCycle.IsDisposed)
            {
                return SmcFilter.Refuse(ref registers);
            }

            pause.WaitUntilReleased(options.Quantum);
            return SmcOutcome.Retry;
        }

        try
        {
            return Serve(ref registers, loaded);
        }
        finally
        {
            pause.Exit();
        }
    }

    private SmcOutcome Serve(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
        if (functionId == OpTeeSmc.GetProtectedMemoryConfig)
        {
            registers.X0 = OpTeeSmc.ReturnNotAvailable;
            return SmcOutcome.Handled(SmcRegisterSet.X0);
        }

        CompanionTee? tee = lifeCycle.Tee;
        try
        {
            if (tee is null || tee.HasEnded || tee.AwaitsDriver)
            {
                if (!MayBeginDriver(functionId))
                {
                    return functionId == OpTeeSmc.GetAsyncNotificationValue
                        && lifeCycle.WakeUps.TryTake(ref registers, out SmcOutcome wakeUp)
                        ? wakeUp
                        : SmcFilter.Refuse(ref registers);
                }

                if (!lifeCycle.WaitForReplacement())
                {
                    // Another one is being started. Refused, the driver's probe would fail for good.
                    return SmcOutcome.Retry;
                }

                tee = lifeCycle.Tee;
                if (tee is null || tee.HasEnded)
                {
                    return SmcFilter.Refuse(ref registers);
                }
            }

            SmcRegisterSet inputs = tee.InputsOf(in registers, loaded);
            if (!loaded.Contains(inputs))
            {
                return SmcOutcome.NeedsRegisters(inputs);
            }

            if (tee.AwaitsDriver)
            {
                tee.AwaitsDriver = false;
                lifeCycle.WakeUps.End();
            }

            SmcOutcome outcome = tee.Call(ref registers, inputs);
            if (functionId == OpTeeSmc.ExchangeCapabilities && outcome.Kind == SmcOutcomeKind.Handled)
            {
                registers.X1 &= ~(ulong)_notOffered;
                lifeCycle.WakeUps.SetGreatest(registers.X3);
            }

            return outcome;
        }
        catch (Exception exception)
        {
            // KVM cannot go on. The guest gets an answer all the same.
            EndAfter(exception, tee, functionId);
            registers.X0 = functionId;
            return SmcFilter.Refuse(ref registers);
        }
    }

    /// <summary>Whether a call is one that no running driver makes.</summary>
    private bool MayBeginDriver(uint functionId) =>
        !lifeCycle.IsDisposed && functionId is (OpTeeSmc.CallsUid or OpTeeSmc.ExchangeCapabilities);

    /// <summary>A call has failed, and its OP-TEE with it.</summary>
    private void EndAfter(Exception exception, CompanionTee? tee, uint functionId)
    {
        tee?.Fail(new TeeFailure(0, TeeFailureCause.HostFailure, 0, 0));
        if (_failures.TryPass(out long suppressed))
        {
            log.CompanionCallFailed(options.Name, functionId, suppressed, exception);
        }
    }
}
