using System.Diagnostics;
using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Messages;

namespace OpTeeMediator.Calls;

/// <summary>Measures the calls of one VM. Thread-safe: a call belongs to the vCPU that has it.</summary>
/// <remarks>A listener is the VMM's and may throw: what it throws is lost. Everything but the question
/// whether somebody listens is kept out of line.</remarks>
internal sealed class CallObserver
{
    // The call of the SMC that this thread serves, for the trace of SMCs.
    [ThreadStatic]
    private static long t_call;

    [ThreadStatic]
    private static bool t_hasBegun;

    [ThreadStatic]
    private static bool t_hasEnded;

    private readonly CallInstruments _instruments = CallInstruments.Shared;
    private readonly KeyValuePair<string, object?> _vm;
    private readonly OpTeeTrace? _trace;
    private readonly CallTracks _tracks;

    public CallObserver(string vm, OpTeeTrace? trace)
    {
        _vm = new("vm", vm);
        _trace = trace;
        _tracks = new CallTracks(trace?.AddVm(vm) ?? 0);
    }

    /// <summary>Whether SMCs are to be traced.</summary>
    public bool IsTracing => _trace is { IsOn: true };

    /// <summary>Whether calls are to be observed that begin now.</summary>
    private bool IsEnabled
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => _instruments.MeasureCalls || _trace is { IsOn: true };
    }

    /// <summary>A call begins.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin(CallTimeline call)
    {
        if (IsEnabled)
        {
            BeginObserved(call);
        }
        else
        {
            call.Clear();
        }
    }

    /// <summary>The guest has resumed a call that is observed.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Resume(CallTimeline call, RpcStage stage, uint rpc)
    {
        long now = Stopwatch.GetTimestamp();
        call.Resume(now);
        if (_trace is not null)
        {
            t_call = call.Number;
            _trace.Write(_tracks.OfCall(call, NameOfRequest(stage, rpc), call.Suspended, now));
        }
    }

    /// <summary>The backend has ended the operation of a call that is observed, or waits for the guest.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void EndWork(CallTimeline call, uint command)
    {
        long now = Stopwatch.GetTimestamp();
        long since = call.BackendStops(now);
        if (since != 0)
        {
            _trace?.Write(_tracks.OfBackend(call, MessageNames.OfCommand(command), since, now));
        }
    }

    /// <summary>What has begun turns out not to be a call.</summary>
    public static void Withdraw(CallTimeline call)
    {
        call.Clear();
        t_call = 0;
    }

    /// <summary>A call that is observed ends without an answer.</summary>
    public void Abandon(CallTimeline call, uint command) =>
        TraceCall(call, MessageNames.OfCommand(command), Stopwatch.GetTimestamp(), "abandoned");

    /// <summary>An SMC begins that is traced.</summary>
    /// <returns>When.</returns>
    public static long BeginSmc()
    {
        t_call = 0;
        t_hasBegun = false;
        t_hasEnded = false;
        return Stopwatch.GetTimestamp();
    }

    /// <summary>An SMC ends that is traced.</summary>
    public void EndSmc(uint functionId, ulong answer, long started)
    {
        long now = Stopwatch.GetTimestamp();
        TraceSpan span = _tracks.OfCpu(
            SmcNames.OfFunction(functionId), started, now, t_call, SmcNames.OfAnswer(functionId, answer));
        _trace!.Write(span);
        if (t_call != 0 && !(t_hasBegun && t_hasEnded))
        {
            _trace.WriteFlow(t_hasBegun ? "s" : t_hasEnded ? "f" : "t", span.Vm, span.Track, t_call, started);
        }
    }

    /// <summary>A call returns to the guest and will be resumed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Suspend(CallTimeline call, RpcStage stage, uint rpc)
    {
        if (_instruments.MeasureSuspensions || call.IsObserved)
        {
            SuspendObserved(call, stage, rpc);
        }
    }

    /// <summary>A call that is observed ends with an answer in its message.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void End(CallTimeline call, uint command, TeeReturnCode code)
    {
        long now = Stopwatch.GetTimestamp();
        long duration = now - call.Started;
        long mediation = Math.Max(0, duration - call.BackendTime - call.GuestTime);
        string name = MessageNames.OfCommand(command);
        string result = MessageNames.OfResult(code);
        KeyValuePair<string, object?> kind = new("call", name);
        try
        {
            _instruments.Ended.Add(1, _vm, kind, new("result", result));
            _instruments.Duration.Record(ToSeconds(duration), _vm, kind);
            _instruments.BackendTime.Record(ToSeconds(call.BackendTime), _vm, kind);
            _instruments.MediationTime.Record(ToSeconds(mediation), _vm, kind);
        }
        catch (Exception)
        {
            // As above.
        }

        t_hasEnded = true;
        TraceCall(call, name, now, result);
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

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void SuspendObserved(CallTimeline call, RpcStage stage, uint rpc)
    {
        try
        {
            switch (stage)
            {
                case RpcStage.None:
                    _instruments.Preemptions.Add(1, _vm);
                    break;

                case RpcStage.Sleeping:
                    _instruments.Sleeps.Add(1, _vm);
                    break;

                case RpcStage.Calling:
                    _instruments.Rpcs.Add(1, _vm, new("command", MessageNames.OfRpc(rpc)));
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

        if (call.IsObserved)
        {
            call.Suspend();
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void BeginObserved(CallTimeline call)
    {
        call.Begin(_trace?.NextCall() ?? 0);
        t_call = call.Number;
        t_hasBegun = true;
    }

    private void TraceCall(CallTimeline call, string name, long now, string result) =>
        _trace?.Write(_tracks.OfCall(call, name, call.Started, now, result));

    private static string NameOfRequest(RpcStage stage, uint rpc) => stage switch
    {
        RpcStage.None => "preempted",
        RpcStage.Sleeping => "asleep",
        RpcStage.Calling => MessageNames.OfRpc(rpc),
        RpcStage.Allocating => "RPC_ALLOC",
        _ => "gives back memory",
    };

    private static double ToSeconds(long ticks) => (double)ticks / Stopwatch.Frequency;
}
