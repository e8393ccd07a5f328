using Microsoft.Extensions.Logging;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Forwarding;

/// <summary>The fast calls of a VM: those on a list of allowed ones are forwarded, others are answered here.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ForwardedFastCalls(
    HostOpTee opTee, int id, VmResources vm, OpTeeCapabilities capabilities, ILogger log)
{
    public bool HasNotifications => (capabilities & OpTeeCapabilities.AsynchronousNotifications) != 0;

    /// <summary>Answers a call that is neither a yielding call nor EXCHANGE_CAPABILITIES.</summary>
    public SmcOutcome Handle(uint functionId, ref SmcRegisters registers)
    {
        int results = functionId switch
        {
            OpTeeSmc.CallsUid or OpTeeSmc.GetOsUuid => 4,
            OpTeeSmc.GetOsRevision => 3,
            OpTeeSmc.GetAsyncNotificationValue when HasNotifications => 3,
            OpTeeSmc.CallsRevision => 2,
            OpTeeSmc.CallsCount => 1,
            _ => 0,
        };
        if (results != 0)
        {
            return Forward(functionId, 0, results, ref registers);
        }

        switch (functionId)
        {
            case OpTeeSmc.EnableShmCache:
                return EnableShmCache(ref registers);

            case OpTeeSmc.DisableShmCache:
                return DisableShmCache(ref registers);

            case OpTeeSmc.GetThreadCount:
                return registers.AnswerX0ToX1(OpTeeSmc.ReturnOk, (ulong)vm.Calls.Length);

            case OpTeeSmc.GetShmConfig:
            case OpTeeSmc.GetProtectedMemoryConfig:
                return registers.Answer(OpTeeSmc.ReturnNotAvailable);

            case OpTeeSmc.EnableAsyncNotification when HasNotifications:
                return EnableNotifications(ref registers);

            default:
                // The hypervisor's own calls among them. Unknown calls may carry addresses.
                bool isFast = new SmcFunctionId(functionId).IsFast;
                return registers.Answer(isFast ? OpTeeSmc.ReturnUnknownFunction : OpTeeSmc.ReturnBadCommand);
        }
    }

    /// <summary>EXCHANGE_CAPABILITIES: the guest finds those that it may find.</summary>
    public SmcOutcome ExchangeCapabilities(ref SmcRegisters registers)
    {
        SmcOutcome outcome = Forward(OpTeeSmc.ExchangeCapabilities, (uint)registers.X1, 4, ref registers);
        if (registers.X0 == OpTeeSmc.ReturnOk)
        {
            OpTeeCapabilities offered = (OpTeeCapabilities)(uint)registers.X1 & capabilities;
            registers.X1 = (ulong)offered;
            registers.X2 = HasNotifications ? registers.X2 : 0;
            registers.X3 = (offered & OpTeeCapabilities.RpcArgument) != 0 ? (ulong)opTee.RpcParameters : 0;
        }

        return outcome;
    }

    public SmcOutcome EnableShmCache(ref SmcRegisters registers)
    {
        vm.CachesRpcMessages = true;
        return Forward(OpTeeSmc.EnableShmCache, 0, 1, ref registers);
    }

    public SmcOutcome EnableNotifications(ref SmcRegisters registers)
    {
        // Before OP-TEE knows: it may raise its interrupt before it returns, and raises it once.
        bool former = vm.TakesNotifications;
        vm.TakesNotifications = true;
        SmcOutcome outcome = Forward(OpTeeSmc.EnableAsyncNotification, 0, 1, ref registers);
        if (registers.X0 != OpTeeSmc.ReturnOk)
        {
            vm.TakesNotifications = former;
        }

        return outcome;
    }

    private SmcOutcome DisableShmCache(ref SmcRegisters registers)
    {
        SmcOutcome outcome = Forward(OpTeeSmc.DisableShmCache, 0, 3, ref registers);
        if (registers.X0 == OpTeeSmc.ReturnOk)
        {
            ulong cookie = vm.RemoveRpcMessageBuffer(registers.Pair(1, 2));
            registers.X1 = cookie >> 32;
            registers.X2 = (uint)cookie;
        }
        else if (registers.X0 == OpTeeSmc.ReturnNotAvailable)
        {
            vm.CachesRpcMessages = false;
        }

        return outcome;
    }

    /// <summary>Makes a fast call for the guest: its results, X0 among them, or the answer alone.</summary>
    private SmcOutcome Forward(uint functionId, ulong x1, int results, ref SmcRegisters registers)
    {
        SmcRegisters forwarded = default;
        forwarded.X0 = functionId;
        forwarded.X1 = x1;
        if (opTee.TryCall(ref forwarded, id) is { } failure)
        {
            log.CallFailed(functionId, failure);
            return registers.Answer(OpTeeSmc.ReturnNoMemory);
        }

        // Those of owner 63, GET_OS_UUID and GET_OS_REVISION answer with data in X0. With any other error, X1 to X3 are
        // left over from something else.
        bool isData = new SmcFunctionId(functionId).Owner == OpTeeSmc.OwnerTrustedOsApi
            || functionId is OpTeeSmc.GetOsUuid or OpTeeSmc.GetOsRevision;
        uint x0 = (uint)forwarded.X0;
        int count = (isData ? x0 != OpTeeSmc.ReturnUnknownFunction : x0 == OpTeeSmc.ReturnOk) ? results : 1;
        return registers.Answer(
            x0, count > 1 ? (uint)forwarded.X1 : 0, count > 2 ? (uint)forwarded.X2 : 0,
            count > 3 ? (uint)forwarded.X3 : 0);
    }
}
