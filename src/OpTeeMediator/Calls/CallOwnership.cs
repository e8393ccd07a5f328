using System.Runtime.CompilerServices;

namespace OpTeeMediator.Calls;

/// <summary>Who has a call: its <see cref="CallState"/> and a generation (24 bits), in one word.</summary>
/// <remarks>
/// <code>
///  Free ── TryTake ──► Running ── Suspend, generation + 1 ──► Suspended ── TryAbandon ──► Abandoned
///   ▲                  │     ▲                                   │                            │
///   │                  │     └─────── TryResume, by the ─────────┘                            │
///   │                  │              generation                                              │
///   └── EndRelease ◄───┴── BeginRelease, generation + 1 ◄─────────────────────────────────────┘
/// </code>
/// Each change of state is one compare-and-swap, so that a forged, stale or doubled resume fails there. Only the thread
/// that has moved the word to <see cref="CallState.Running"/> or <see cref="CallState.Abandoned"/> has the call.
/// </remarks>
internal struct CallOwnership
{
    private const int StateBits = 8;
    private const int StateMask = (1 << StateBits) - 1;

    private int _word;

    public readonly CallState State => StateOf(Volatile.Read(in _word));

    /// <summary>The slot's index in resume information; −1 if it can be of no slot.</summary>
    public static int IndexOf(uint resumeInformation) => (int)(resumeInformation & StateMask) - 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryTake()
    {
        int word = _word;
        return StateOf(word) == CallState.Free
            && Interlocked.CompareExchange(ref _word, word | (int)CallState.Running, word) == word;
    }

    /// <summary>Gives the call to the guest. The resume information is generation and index, and never 0.</summary>
    public uint Suspend(int index)
    {
        uint generation = ((uint)_word & ~(uint)StateMask) + (1u << StateBits);
        _ = Interlocked.Exchange(ref _word, (int)(generation | (uint)CallState.Suspended));
        return generation | (uint)(index + 1);
    }

    /// <summary>Takes the call back from the guest, if it waits for this resume information.</summary>
    public bool TryResume(uint resumeInformation)
    {
        int generation = (int)(resumeInformation & ~(uint)StateMask);
        int suspended = generation | (int)CallState.Suspended;
        return Interlocked.CompareExchange(ref _word, generation | (int)CallState.Running, suspended) == suspended;
    }

    /// <summary>Whether the guest has the call, and what <see cref="TryAbandon"/> needs to take it away.</summary>
    public readonly bool IsSuspended(out int word)
    {
        word = Volatile.Read(in _word);
        return StateOf(word) == CallState.Suspended;
    }

    /// <summary>Takes the call away from the guest for ever.</summary>
    public bool TryAbandon(int word) =>
        Interlocked.CompareExchange(ref _word, (word & ~StateMask) | (int)CallState.Abandoned, word) == word;

    /// <summary>Ends the call: no resume information is valid any more. A full fence.</summary>
    public void BeginRelease() => _ = Interlocked.Exchange(
        ref _word, ((_word & ~StateMask) + (1 << StateBits)) | (int)CallState.Running);

    /// <summary>Any vCPU may take the slot.</summary>
    public void EndRelease() => Volatile.Write(ref _word, (_word & ~StateMask) | (int)CallState.Free);

    /// <summary>The generation, for <see cref="Restore"/>.</summary>
    public readonly int Generation => Volatile.Read(in _word) & ~StateMask;

    /// <summary>Takes over a word of an earlier process, before the VM's first call.</summary>
    public void Restore(int generation, CallState state) =>
        Volatile.Write(ref _word, (generation & ~StateMask) | (int)state);

    private static CallState StateOf(int word) => (CallState)(word & StateMask);
}
