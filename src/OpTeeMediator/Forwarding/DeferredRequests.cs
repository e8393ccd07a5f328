using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>What a new driver asks for during the cleanup after an earlier one: served when that has ended.</summary>
/// <remarks>A yielding call is answered FOREIGN_INTRand resumed. The guest must keep X1 to X3 of FOREIGN_INTR as they
/// are, so these hold what to begin. As many calls begin by a resume as were deferred. Thread-safe.</remarks>
internal sealed class DeferredRequests
{
    // Resume information of calls that have not begun: below what no call's index gives, above which SMC it is.
    private const uint BeginWithArgument = 1 << 8;
    private const uint BeginWithRpcArgument = 2 << 8;

    private int _calls;
    private int _enablesShmCache;
    private int _enablesNotifications;

    /// <summary>Whether resume information is of a deferred call.</summary>
    public static bool IsDeferredCall(uint information) => information is BeginWithArgument or BeginWithRpcArgument;

    public SmcOutcome Defer(ref SmcRegisters registers)
    {
        _ = Interlocked.Increment(ref _calls);
        bool hasRpcArgument = registers.FunctionId.WithoutHint.Value != OpTeeSmc.CallWithArgument;
        registers.X0 = OpTeeSmc.ReturnRpcForeignInterrupt;
        registers.X1 = (uint)registers.X1;
        registers.X2 = (uint)registers.X2;
        registers.X3 = hasRpcArgument ? BeginWithRpcArgument : BeginWithArgument;
        return SmcOutcome.Handled(OpTeeRegisters.X0ToX3);
    }

    /// <summary>Makes the deferred call out of its resume, if these registers resume one.</summary>
    public bool TryTakeCall(ref SmcRegisters registers)
    {
        uint begin = (uint)registers.X3;
        if (registers.FunctionId.WithoutHint.Value != OpTeeSmc.ReturnFromRpc || !IsDeferredCall(begin))
        {
            return false;
        }

        int calls;
        do
        {
            calls = Volatile.Read(ref _calls);
            if (calls == 0)
            {
                return false;
            }
        }
        while (Interlocked.CompareExchange(ref _calls, calls - 1, calls) != calls);

        registers.X0 = begin == BeginWithArgument ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument;
        return true;
    }

    /// <summary>Notes whether ENABLE_SHM_CACHE is to be made.</summary>
    public void SetEnableShmCache(bool value) => _ = Interlocked.Exchange(ref _enablesShmCache, value ? 1 : 0);

    /// <summary>Notes that ENABLE_ASYNC_NOTIF is to be made.</summary>
    public void SetEnableNotifications() => _ = Interlocked.Exchange(ref _enablesNotifications, 1);

    /// <summary>Whether ENABLE_SHM_CACHE is to be made; asked once.</summary>
    public bool TryTakeEnableShmCache() => Interlocked.Exchange(ref _enablesShmCache, 0) != 0;

    public bool TryTakeEnableNotifications() => Interlocked.Exchange(ref _enablesNotifications, 0) != 0;

    /// <summary>The driver that asked has ended.</summary>
    public void Discard()
    {
        Volatile.Write(ref _calls, 0);
        _ = Interlocked.Exchange(ref _enablesShmCache, 0);
        _ = Interlocked.Exchange(ref _enablesNotifications, 0);
    }
}
