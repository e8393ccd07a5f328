using Microsoft.Extensions.Logging;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Forwarding;

/// <summary>Has OP-TEE release what it has of a driver that ended without doing so, in steps of one SMC each.</summary>
/// <remarks>First the driver's suspended calls end, in turns, because one may wait for another; then its notifications,
/// sessions, registered memory and cached RPC buffers. Not thread-safe; without yielding calls.</remarks>
internal sealed class DriverCleanup(
    HostOpTee opTee, int id, VmResources vm, ForwardedRpc rpc, ShadowMessages shadows, CallEntry entry, ILogger log)
{
    private int _turn;

    /// <summary>The driver has ended: it can resume none of its calls any more.</summary>
    public void Begin()
    {
        log.DriverEnds(vm.Sessions.Count, vm.Buffers, vm.CallsInFlight);
        foreach (ForwardedCall call in vm.Calls)
        {
            if (call.State == ForwardedCallState.Suspended)
            {
                call.RevokeResume();
            }
        }
    }

    public CleanupProgress Step()
    {
        if (vm.IsStateUnknown)
        {
            return CleanupProgress.Failed;
        }

        for (int count = 0; count < vm.Calls.Length; count++)
        {
            _turn = (_turn + 1) % vm.Calls.Length;
            if (vm.Calls[_turn] is { State: ForwardedCallState.Suspended } call)
            {
                call.ResumeWithoutDriver();
                rpc.AnswerWithoutDriver(call, out SmcRegisters forwarded);
                return Enter(call, ref forwarded);
            }
        }

        if (vm.TakesNotifications)
        {
            return Send(OpTeeMessage.CommandStopAsyncNotification);
        }

        if (vm.Sessions.TryGetAny(out uint session))
        {
            return Send(OpTeeMessage.CommandCloseSession, session);
        }

        if (vm.SharedMemory.FindAny(BufferRole.Registered) is { } buffer)
        {
            return Send(OpTeeMessage.CommandUnregisterSharedMemory, 0, buffer);
        }

        if (vm.CachesRpcMessages || vm.SharedMemory.Count > 0)
        {
            return RemoveCachedRpcBuffer();
        }

        return vm.HasLeftovers ? CleanupProgress.Failed : CleanupProgress.Done;
    }

    /// <summary>Sends a message of the forwarder. All calls are free.</summary>
    private CleanupProgress Send(uint command, uint session = 0, SharedBuffer? buffer = null)
    {
        if (vm.TryTakeCall() is not { } call)
        {
            return CleanupProgress.Failed;
        }

        ref Message message = ref call.Message;
        message = default;
        message.Header.Command = command;
        message.Header.Session = session;
        message.Header.ParameterCount = buffer is null ? 0u : 1u;
        call.Owner = CallOwner.Forwarder;
        call.Buffer = buffer;
        bool hasRpcArgument = (opTee.Capabilities & OpTeeCapabilities.RpcArgument) != 0;
        call.RpcOffset = hasRpcArgument ? OpTeeMessage.Size((int)message.Header.ParameterCount) : 0;
        if (!shadows.TryWrite(call, out SmcRegisters forwarded))
        {
            vm.Release(call);
            return CleanupProgress.Failed;
        }

        return Enter(call, ref forwarded);
    }

    private CleanupProgress Enter(ForwardedCall call, ref SmcRegisters forwarded)
    {
        if (!entry.TryEnter(call, ref forwarded))
        {
            return CleanupProgress.Failed;
        }

        uint answer = (uint)forwarded.X0;
        if (!OpTeeRegisters.IsRpc(answer))
        {
            // A call of the driver may fail: it has ended.
            bool mustSucceed = call.Owner == CallOwner.Forwarder;
            return entry.Finish(call, ref answer) || !mustSucceed ? CleanupProgress.Advanced : CleanupProgress.Failed;
        }

        _ = rpc.BeginRequest(call, forwarded);
        _ = call.Suspend();
        return answer == OpTeeSmc.ReturnRpcForeignInterrupt ? CleanupProgress.Interrupted : CleanupProgress.Advanced;
    }

    /// <summary>DISABLE_SHM_CACHE, once: OP-TEE gives back one buffer for RPC messages, or has none.</summary>
    private CleanupProgress RemoveCachedRpcBuffer()
    {
        SmcRegisters forwarded = default;
        forwarded.X0 = OpTeeSmc.DisableShmCache;
        if (opTee.TryCall(ref forwarded, id) is { } failure)
        {
            log.CallFailed(OpTeeSmc.DisableShmCache, failure);
            vm.MarkStateUnknown();
            return CleanupProgress.Failed;
        }

        switch ((uint)forwarded.X0)
        {
            case OpTeeSmc.ReturnOk:
                bool isKnown = vm.RemoveRpcMessageBuffer(forwarded.Pair(1, 2)) != 0;
                return isKnown ? CleanupProgress.Advanced : CleanupProgress.Failed;

            case OpTeeSmc.ReturnNotAvailable when vm.SharedMemory.Count == 0:
                vm.CachesRpcMessages = false;
                return CleanupProgress.Advanced;

            default:
                return CleanupProgress.Failed;
        }
    }
}
