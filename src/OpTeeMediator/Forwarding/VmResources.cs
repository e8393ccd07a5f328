using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Forwarding;

/// <summary>What OP-TEE may have of one VM: calls, sessions, shared memory, and what its driver has enabled.</summary>
/// <remarks>Thread-safe; allocates only when it is made and when it counts for <see cref="Status"/>.</remarks>
internal sealed class VmResources
{
    /// <summary>Whether the guest's driver takes notifications.</summary>
    public volatile bool TakesNotifications;

    /// <summary>Whether the guest's driver has OP-TEE keep buffers for RPC messages.</summary>
    public volatile bool CachesRpcMessages;

    private readonly ForwardedCall[] _calls;
    private readonly MemoryBudget _budget;
    private volatile bool _isStateUnknown;
    private volatile bool _hasFailedCall;

    public VmResources(
        NonThrowingGuestMemory memory, NonThrowingPhysicalMemory physical, OpTeeLimits limits, int opTeeThreads)
    {
        _budget = new MemoryBudget(limits.Buffers, limits.Pages, limits.PagesPerBuffer);
        Sessions = new ForwardedSessions(limits.Sessions);
        SharedMemory = new SharedMemoryRegistry(new SharedBufferPool(memory, _budget), limits.Buffers);
        Shadows = new ShadowPool(physical);
        PageLists = new ShadowPageLists(physical, Shadows);
        _calls = new ForwardedCall[Math.Min(limits.Calls, opTeeThreads)];
        for (int index = 0; index < _calls.Length; index++)
        {
            _ = Shadows.TryTake(1, out int page);
            _calls[index] = new ForwardedCall(index) { ShadowPage = page };
        }
    }

    /// <summary>All calls, of whatever state.</summary>
    public ReadOnlySpan<ForwardedCall> Calls => _calls;

    public ForwardedSessions Sessions { get; }

    public SharedMemoryRegistry SharedMemory { get; }

    public ShadowPool Shadows { get; }

    public ShadowPageLists PageLists { get; }

    /// <summary>Whether OP-TEE may have more of the VM than is noted here.</summary>
    public bool IsStateUnknown => _isStateUnknown;

    /// <summary>Whether the monitor has ever failed in a call: a thread of OP-TEE may be at work on it.</summary>
    public bool HasFailedCall => Array.Exists(_calls, call => call.State == ForwardedCallState.Failed);

    /// <summary>How many calls OP-TEE and the guest have, without those that failed.</summary>
    public int InFlight => _calls.Count(call => call.State is ForwardedCallState.Busy or ForwardedCallState.Suspended);

    /// <summary>Whether OP-TEE may have something of the VM's driver.</summary>
    public bool HasLeftovers =>
        InFlight > 0 || Sessions.Count > 0 || SharedMemory.Count > 0
        || TakesNotifications || CachesRpcMessages || _isStateUnknown;

    public int CallsInFlight => _calls.Count(call => call.State != ForwardedCallState.Free);

    /// <summary>Shared buffers.</summary>
    public int Buffers => _budget.Buffers;

    public OpTeeGuestStatus Status => new(CallsInFlight, Sessions.Count, Buffers, _budget.Pages);

    public ForwardedCall? TryTakeCall()
    {
        foreach (ForwardedCall call in _calls)
        {
            if (call.TryTake())
            {
                return call;
            }
        }

        return null;
    }

    /// <summary>The call that resume information names, if there is one.</summary>
    public ForwardedCall? FindCall(uint information)
    {
        int index = ForwardedCall.IndexOf(information);
        return (uint)index < (uint)_calls.Length ? _calls[index] : null;
    }

    /// <summary>Ends a call and drops its page lists.</summary>
    public void Release(ForwardedCall call)
    {
        PageLists.Drop(ref call.PageList);
        PageLists.Drop(ref call.PayloadList);
        call.Release();
    }

    /// <summary>OP-TEE has done something of which the answer is unknown.</summary>
    public void MarkStateUnknown() => _isStateUnknown = true;

    /// <summary>The monitor failed in a call: OP-TEE may be at work on it and on what it uses.</summary>
    public void MarkFailed(ForwardedCall call)
    {
        call.MarkFailed();
        _hasFailedCall = true;
        _isStateUnknown = true;
    }

    /// <summary>Writes the page list that OP-TEE gets of a buffer; removes the buffer if there is no list.</summary>
    public TeeReturnCode TryWritePageList(ref SharedBuffer? buffer, out int list)
    {
        TeeReturnCode code = PageLists.TryWrite(buffer!, out list);
        if (code != TeeReturnCode.Success)
        {
            SharedMemory.Remove(buffer!);
            buffer = null;
        }

        return code;
    }

    /// <summary>OP-TEE has released a buffer for RPC messages. Returns the guest's cookie of it, or 0.</summary>
    public ulong RemoveRpcMessageBuffer(ulong cookie)
    {
        if (SharedMemory.Find(cookie) is not { Role: BufferRole.RpcMessage } buffer)
        {
            return 0;
        }

        ulong guestCookie = buffer.Cookie;
        Shadows.Return(buffer.ShadowPage);
        SharedMemory.Remove(buffer);
        return guestCookie;
    }

    /// <summary>OP-TEE has destroyed the VM, and no vCPU makes a call: ends all calls, sessions and buffers.</summary>
    /// <remarks>OP-TEE may be at work on failed calls: their shadow pages stay, and all pins.</remarks>
    public void Clear()
    {
        bool staysPinned = _hasFailedCall;
        foreach (ForwardedCall call in _calls)
        {
            if (call.State is ForwardedCallState.Busy or ForwardedCallState.Suspended)
            {
                Release(call);
            }
        }

        while (SharedMemory.FindAny(null) is { } buffer)
        {
            if (buffer.Role == BufferRole.RpcMessage && !staysPinned)
            {
                Shadows.Return(buffer.ShadowPage);
            }

            SharedMemory.Remove(buffer, staysPinned);
        }

        Sessions.Clear();
        TakesNotifications = false;
        CachesRpcMessages = false;
        _isStateUnknown = false;
        _hasFailedCall = false;
    }
}
