using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>Enters OP-TEE with yielding calls, and notes what their ends mean for sessions and shared memory.</summary>
/// <remarks>Thread-safe: a call belongs to the vCPU that has it.</remarks>
internal sealed class CallEntry(
    HostOpTee opTee, int id, VmResources vm, ForwardedRpc rpc, ShadowMessages messages,
    CallObserver observer, ILogger log)
{
    /// <summary>Makes the SMC of a call. If the monitor fails, the call has failed with it.</summary>
    public bool TryEnter(ForwardedCall call, ref SmcRegisters forwarded)
    {
        if (call.Timeline.IsObserved)
        {
            call.Timeline.BackendBegins();
        }

        Exception? failure = opTee.TryCall(ref forwarded, id);
        if (call.Timeline.IsObserved)
        {
            observer.EndWork(call.Timeline, call.Message.Header.Command);
        }

        if (failure is not null)
        {
            EndObservation(call, null);
            vm.MarkFailed(call);
            log.MonitorFailed((uint)forwarded.X0, failure);
            return false;
        }

        call.OpTeeThreadId = forwarded.X3;
        rpc.EndRequest(call, (uint)forwarded.X0);
        return true;
    }

    /// <summary>The call has ended: copies its results back, releases what OP-TEE has released, and makes OP-TEE's
    /// answer the guest's. Returns whether OP-TEE has done what the message says.</summary>
    public bool Finish(ForwardedCall call, ref uint answer)
    {
        TeeReturnCode code = TeeReturnCode.Generic;
        TeeReturnCode? answered = null;
        uint session = call.Message.Header.Session;
        if (answer == OpTeeSmc.ReturnOk)
        {
            if (!messages.TryReadResults(call, out MessageHeader header))
            {
                // What OP-TEE may have of the call stays as noted until it destroys the VM.
                vm.MarkStateUnknown();
                if (call.Message.Header.Command == OpTeeMessage.CommandOpenSession)
                {
                    vm.Sessions.EndOpening(null);
                }

                EndObservation(call, null);
                vm.Release(call);
                answer = OpTeeSmc.ReturnNoMemory;
                return false;
            }

            code = (TeeReturnCode)header.ReturnCode;
            answered = code;
            session = call.Message.Header.Command == OpTeeMessage.CommandOpenSession ? header.Session : session;
        }
        else if (answer == OpTeeSmc.ReturnThreadLimit && vm.InFlight <= 1)
        {
            // Linux would sleep until another call of its own ends.
            answer = OpTeeSmc.ReturnNoMemory;
        }

        if (call.Owner == CallOwner.Forwarder
            && call.Message.Header.Command == OpTeeMessage.CommandCloseSession
            && code is TeeReturnCode.BadParameters or TeeReturnCode.ItemNotFound)
        {
            // There is no such session, which is as good.
            code = TeeReturnCode.Success;
        }

        bool isDone = code == TeeReturnCode.Success;
        Commit(call, session, isDone);
        EndObservation(call, answered);
        vm.Release(call);
        return isDone;
    }

    /// <summary>Ends a call that OP-TEE did not get: takes back what was noted for it.</summary>
    public void Abandon(ForwardedCall call)
    {
        Commit(call, 0, isDone: false);
        EndObservation(call, null);
        vm.Release(call);
    }

    // Before the call is released: another vCPU may take it then.
    private void EndObservation(ForwardedCall call, TeeReturnCode? code)
    {
        if (!call.Timeline.IsObserved)
        {
            return;
        }

        if (code is { } answered && call.Owner == CallOwner.Driver)
        {
            observer.End(call.Timeline, call.Message.Header.Command, answered);
        }
        else
        {
            observer.Abandon(call.Timeline, call.Message.Header.Command);
        }
    }

    /// <summary>Notes what OP-TEE has of the VM after a message.</summary>
    private void Commit(ForwardedCall call, uint session, bool isDone)
    {
        switch (call.Message.Header.Command)
        {
            case OpTeeMessage.CommandOpenSession:
                vm.Sessions.EndOpening(isDone ? session : null);
                break;

            case OpTeeMessage.CommandCloseSession when isDone:
                vm.Sessions.Closed(session);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory when isDone:
            case OpTeeMessage.CommandUnregisterSharedMemory when !isDone:
                vm.SharedMemory.MakeUsable(call.Buffer!);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
            case OpTeeMessage.CommandUnregisterSharedMemory:
                vm.SharedMemory.Remove(call.Buffer!);
                break;

            case OpTeeMessage.CommandStopAsyncNotification when isDone:
                vm.TakesNotifications = false;
                break;
        }
    }
}
