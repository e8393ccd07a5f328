using OpTeeMediator.Calls;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Forwarding;

/// <summary>Everything one yielding call needs while OP-TEE has it, prepared in advance.</summary>
/// <remarks>
/// <code>
///  Free ── TryTake ──► Busy ── Suspend ──► Suspended ── RevokeResume ──► Suspended, of an earlier driver
///   ▲                  │ │ ▲                   │
///   └──── Release ─────┘ │ └─── TryResume ─────┘
///                        └── MarkFailed ──► Failed
/// </code>
/// <para>The state word is a generation (24 bits) and the <see cref="ForwardedCallState"/>. <see cref="TryTake"/> and
/// <see cref="TryResume"/> are one compare-and-swap each, so that a forged, stale or doubled resume fails there. Only
/// the vCPU that has moved the call to <see cref="ForwardedCallState.Busy"/> touches the rest.</para>
/// </remarks>
internal sealed class ForwardedCall(int index)
{
    private const int StateBits = 2;
    private const int StateMask = (1 << StateBits) - 1;

    // Resume information: the generation above, index + 1 below, so that it is never 0.
    private const int IndexBits = 8;
    private const uint GenerationMask = (1 << 24) - 1;

    private Message _message;
    private Message _rpcMessage;
    private int _word;

    /// <summary>The message's page list in shadow pages. OP-TEE may read it until the call ends.</summary>
    public int PageList = ShadowPageLists.None;

    /// <summary>The page list of memory that the guest has allocated for OP-TEE last.</summary>
    public int PayloadList = ShadowPageLists.None;

    public ForwardedCallState State => (ForwardedCallState)(Volatile.Read(ref _word) & StateMask);

    public CallOwner Owner { get; set; }

    /// <summary>The shadow page that OP-TEE gets instead of the message; the same as long as the VM exists.</summary>
    public int ShadowPage { get; set; }

    /// <summary>The private copy of the message.</summary>
    public ref Message Message => ref _message;

    /// <summary>Where the guest wants the results.</summary>
    public GuestAddress MessageAddress { get; set; }

    /// <summary>The offset of the guest's room for RPC messages in its message; 0 if it supplied none.</summary>
    public int RpcOffset { get; set; }

    public ForwardedRpcStage Stage { get; set; }

    /// <summary>What is measured of the call.</summary>
    public CallTimeline Timeline { get; } = new(index);

    /// <summary>What the guest does for the call while it is suspended, as it is measured.</summary>
    public RpcStage MeasuredStage { get; set; }

    /// <summary>OP-TEE's own resume information.</summary>
    public ulong OpTeeThreadId { get; set; }

    /// <summary>The size of the RPC message buffer that OP-TEE has asked for, in bytes.</summary>
    public ulong RequestedSize { get; set; }

    /// <summary>The RPC message that the guest has: what OP-TEE wrote.</summary>
    public ref Message RpcMessage => ref _rpcMessage;

    /// <summary>Where the guest has the RPC message.</summary>
    public GuestAddress RpcAddress { get; set; }

    /// <summary>Where OP-TEE has the RPC message: a shadow page and an offset in it.</summary>
    public int RpcShadowPage { get; set; }

    public int RpcShadowOffset { get; set; }

    /// <summary>The buffer that is being registered or unregistered.</summary>
    public SharedBuffer? Buffer { get; set; }

    /// <summary>The guest's cookie of an offer of memory that was refused: OP-TEE will ask to free it.</summary>
    public ulong RefusedCookie { get; set; }

    /// <summary>OP-TEE's cookie of the buffer for RPC messages in <see cref="ForwardedRpcStage.Freeing"/>.</summary>
    public ulong FreedCookie { get; set; }

    public bool TryTake()
    {
        int word = Volatile.Read(ref _word);
        return (word & StateMask) == (int)ForwardedCallState.Free
            && Interlocked.CompareExchange(ref _word, word | (int)ForwardedCallState.Busy, word) == word;
    }

    /// <summary>Gives the call to the guest, which can resume it only with this resume information.</summary>
    public uint Suspend()
    {
        uint generation = (((uint)_word >> StateBits) + 1) & GenerationMask;
        Volatile.Write(ref _word, SuspendedWord(generation));
        return (generation << IndexBits) | (uint)(index + 1);
    }

    /// <summary>The driver of a suspended call has ended: its resume information means nothing from now on.</summary>
    /// <remarks>No vCPU may resume the call meanwhile.</remarks>
    public void RevokeResume()
    {
        Owner = CallOwner.EarlierDriver;
        _ = Suspend();
    }

    /// <summary>Whether this resume information is of this call as it is suspended now.</summary>
    public bool IsResumedBy(uint information) =>
        Volatile.Read(ref _word) == SuspendedWord(information >> IndexBits) && IndexOf(information) == index;

    public bool TryResume(uint information)
    {
        int suspended = SuspendedWord(information >> IndexBits);
        int busy = (suspended & ~StateMask) | (int)ForwardedCallState.Busy;
        return Interlocked.CompareExchange(ref _word, busy, suspended) == suspended;
    }

    /// <remarks>No vCPU may resume the call meanwhile.</remarks>
    public void ResumeWithoutDriver() => ChangeState(ForwardedCallState.Busy);

    /// <summary>The call that resume information names, if there is one.</summary>
    public static int IndexOf(uint information) => (int)(information & ((1 << IndexBits) - 1)) - 1;

    public void MarkFailed() => ChangeState(ForwardedCallState.Failed);

    /// <summary>Ends the call: nothing is left of it, its page lists being dropped already.</summary>
    public void Release()
    {
        Owner = CallOwner.Driver;
        Stage = ForwardedRpcStage.None;
        Buffer = null;
        RefusedCookie = 0;
        FreedCookie = 0;
        Timeline.Clear();
        ChangeState(ForwardedCallState.Free);
    }

    private void ChangeState(ForwardedCallState state) => Volatile.Write(ref _word, (_word & ~StateMask) | (int)state);

    private static int SuspendedWord(uint generation) =>
        (int)(generation << StateBits) | (int)ForwardedCallState.Suspended;
}
