using System.Runtime.CompilerServices;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Forwarding;

/// <summary>Everything one yielding call needs while OP-TEE has it, prepared in advance.</summary>
/// <remarks>
/// The state word is a generation (24 bits) and the state; every change of state is one compare-and-swap, so that a forged, stale or doubled resume
/// fails there. Only who has moved the call to Busy touches the rest.
/// </remarks>
internal sealed class ForwardedCall(int index)
{
    private const int Free = 0;
    private const int Busy = 1;
    private const int Suspended = 2;
    private const int StateBits = 2;
    private const int StateMask = (1 << StateBits) - 1;

    // Resume information: the generation above, index + 1 below, so that it is never 0.
    private const int IndexBits = 8;
    private const uint GenerationMask = (1 << 24) - 1;

    private Message _message;
    private Message _rpcMessage;
    private int _word;

    /// <summary>The page list of the message itself, in shadow pages, until the call ends: OP-TEE may read it as late as that.</summary>
    public int PageList = ShadowPageLists.None;

    /// <summary>The page list of memory that the guest has allocated for OP-TEE last.</summary>
    public int PayloadList = ShadowPageLists.None;

    /// <summary>The shadow page that OP-TEE has instead of the message; taken for the life of the VM.</summary>
    public int ShadowPage { get; set; }

    /// <summary>The private copy of the message.</summary>
    public ref Message Message => ref _message;

    /// <summary>Why the guest's message is refused, for the log; <see langword="null"/> if it is not, or if that is logged already.</summary>
    public string? Refusal { get; set; }

    /// <summary>Notes why the message is refused.</summary>
    /// <returns><paramref name="answer"/>, what it is answered.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public T Refuse<T>(T answer, string reason)
        where T : struct
    {
        Refusal = reason;
        return answer;
    }

    /// <summary>Where the guest wants the results.</summary>
    public GuestAddress MessageAddress { get; set; }

    /// <summary>Where the guest has room for RPC messages, from the message's beginning; 0 if it supplied none.</summary>
    public int RpcOffset { get; set; }

    /// <summary>What the guest is asked for while the call is suspended.</summary>
    public ForwardedStage Stage { get; set; }

    /// <summary>OP-TEE's own resume information.</summary>
    public ulong Thread { get; set; }

    /// <summary>The size of the RPC message buffer that OP-TEE has asked for, in bytes.</summary>
    public ulong RequestedSize { get; set; }

    /// <summary>The RPC message that the guest has: what OP-TEE wrote.</summary>
    public ref Message RpcMessage => ref _rpcMessage;

    /// <summary>Where the guest has it.</summary>
    public GuestAddress RpcAddress { get; set; }

    /// <summary>Where OP-TEE has it: a shadow page and an offset in it.</summary>
    public int RpcShadowPage { get; set; }

    public int RpcShadowOffset { get; set; }

    /// <summary>The buffer that is being registered or unregistered.</summary>
    public SharedBuffer? Buffer { get; set; }

    /// <summary>The guest's cookie of memory that it offered and that was refused: OP-TEE will ask to free it.</summary>
    public ulong RefusedCookie { get; set; }

    /// <summary>OP-TEE's cookie of the buffer for RPC messages that it asks to free, and has mapped until it goes on. 0 if there is none.</summary>
    public ulong FreedCookie { get; set; }

    /// <summary>Whether the message is the forwarder's own, not the guest's.</summary>
    public bool IsOwn { get; set; }

    /// <summary>Whether the monitor failed in the call, so that a thread of OP-TEE may be at work on it. Such a call is never used again.</summary>
    public bool IsLost { get; set; }

    public bool IsFree => (Volatile.Read(ref _word) & StateMask) == Free;

    public bool IsSuspended => (Volatile.Read(ref _word) & StateMask) == Suspended;

    public bool TryTake()
    {
        int word = Volatile.Read(ref _word);
        return (word & StateMask) == Free && Interlocked.CompareExchange(ref _word, word | Busy, word) == word;
    }

    /// <summary>Leaves the call to the guest.</summary>
    /// <returns>The resume information, the only way back.</returns>
    public uint Suspend()
    {
        uint generation = (GenerationOf(_word) + 1) & GenerationMask;
        Volatile.Write(ref _word, (int)(generation << StateBits) | Suspended);
        return (generation << IndexBits) | (uint)(index + 1);
    }

    /// <summary>Takes a suspended call away from the guest, whose resume information then names nothing.</summary>
    /// <remarks>No vCPU may resume it meanwhile.</remarks>
    public void TakeOver() => Volatile.Write(ref _word, (_word & ~StateMask) | Busy);

    /// <summary>Whether this resume information is of this call as it is suspended now.</summary>
    public bool IsResumedBy(uint information) =>
        Volatile.Read(ref _word) == ((int)((information >> IndexBits) << StateBits) | Suspended) && IndexOf(information) == index;

    public bool TryResume(uint information)
    {
        int word = (int)((information >> IndexBits) << StateBits) | Suspended;
        return Interlocked.CompareExchange(ref _word, (word & ~StateMask) | Busy, word) == word;
    }

    /// <summary>The call that resume information names, if there is one.</summary>
    public static int IndexOf(uint information) => (int)(information & ((1 << IndexBits) - 1)) - 1;

    public void Release() => Volatile.Write(ref _word, (_word & ~StateMask) | Free);

    private static uint GenerationOf(int word) => (uint)word >> StateBits;
}
