using System.Diagnostics;
using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Messages;

namespace OpTeeMediator.Calls;

/// <summary>Measures the calls of one VM. Thread-safe: a call belongs to the vCPU that has it.</summary>
/// <remarks>A listener is the VMM's and may throw: what it throws is lost. Everything but the question
/// whether somebody listens is kept out of line.</remarks>
internal sealed class CallObserver(string vm)
{
    private readonly CallInstruments _instruments = CallInstruments.Shared;
    private readonly KeyValuePair<string, object?> _vm = new("vm", vm);

    /// <summary>Whether calls are to be observed that begin now.</summary>
    public bool IsEnabled => _instruments.MeasureCalls;

    /// <summary>A call begins.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin(CallSlot slot)
    {
        if (IsEnabled)
        {
            slot.Timeline.Begin();
        }
        else
        {
            slot.Timeline.Clear();
        }
    }

    /// <summary>A call returns to the guest and will be resumed.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Suspend(CallSlot slot)
    {
        try
        {
            switch (slot.Stage)
            {
                case RpcStage.None:
                    _instruments.Preemptions.Add(1, _vm);
                    break;

                case RpcStage.Sleeping:
                    _instruments.Sleeps.Add(1, _vm);
                    break;

                case RpcStage.Calling:
                    _instruments.Rpcs.Add(1, _vm, new("command", MessageNames.OfRpc(slot.Rpc.Command)));
                    break;

                default:
                    // The mediator's own affairs with the guest's memory.
                    break;
            }
        }
        catch (Exception)
        {
            // There is no answer to it.
        }

        if (slot.Timeline.IsObserved)
        {
            slot.Timeline.Suspend();
        }
    }

    /// <summary>A call that is observed ends with an answer in its message.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void End(CallSlot slot, TeeReturnCode code)
    {
        CallTimeline timeline = slot.Timeline;
        long duration = Stopwatch.GetTimestamp() - timeline.Started;
        long mediation = Math.Max(0, duration - timeline.BackendTime - timeline.GuestTime);
        KeyValuePair<string, object?> call = new("call", MessageNames.OfCommand(slot.Message.Header.Command));
        KeyValuePair<string, object?> result = new("result", MessageNames.OfResult(code));
        try
        {
            _instruments.Ended.Add(1, _vm, call, result);
            _instruments.Duration.Record(ToSeconds(duration), _vm, call);
            _instruments.BackendTime.Record(ToSeconds(timeline.BackendTime), _vm, call);
            _instruments.MediationTime.Record(ToSeconds(mediation), _vm, call);
        }
        catch (Exception)
        {
            // As above.
        }
    }

    /// <summary>A call or a message is refused.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Refuse(string reason)
    {
        try
        {
            _instruments.Refusals.Add(1, _vm, new("reason", reason));
        }
        catch (Exception)
        {
            // As above.
        }
    }

    private static double ToSeconds(long ticks) => (double)ticks / Stopwatch.Frequency;
}
