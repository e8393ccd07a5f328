using OpTeeMediator.Protocol;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Which calls are suspended, and what each has asked of the guest, so that its resumption hands over no more
/// registers than the answer needs.</summary>
/// <remarks>
/// <code>
///  None ◄── TryResume ── WithArguments, WithoutArguments
///   └──────── Note ──────────────────►
/// </code>
/// A resumption is one step, and only of what is suspended: of two vCPUs that resume the same call one is refused here.
/// Otherwise the slower one could answer, without arguments, a request that has been made meanwhile, and OP-TEE would
/// take its own leftovers in the registers for the answer and hand them to the guest. Thread-safe.
/// </remarks>
internal sealed class SuspendedCalls
{
    // OP-TEE's resume information is the number of its thread. Real builds have up to a few dozen threads.
    private const int MaximumThreads = 256;

    // The states.
    private const int None = 0;
    private const int WithArguments = 1;
    private const int WithoutArguments = 2;

    private readonly int[] _states = new int[MaximumThreads];

    internal void Note(uint rpc, ulong resumeInformation)
    {
        if ((uint)resumeInformation < MaximumThreads)
        {
            bool hasNone = rpc is OpTeeSmc.ReturnRpcForeignInterrupt or OpTeeSmc.ReturnRpcCommand;
            Volatile.Write(ref _states[(uint)resumeInformation], hasNone ? WithoutArguments : WithArguments);
        }
    }

    /// <summary>Writes which calls are suspended: a byte for each thread of OP-TEE.</summary>
    internal void Save(BinaryWriter writer)
    {
        for (int thread = 0; thread < MaximumThreads; thread++)
        {
            writer.Write((byte)Volatile.Read(ref _states[thread]));
        }
    }

    /// <exception cref="InvalidDataException">A state is none.</exception>
    internal void Restore(BinaryReader reader)
    {
        for (int thread = 0; thread < MaximumThreads; thread++)
        {
            byte saved = reader.ReadByte();
            if (saved > WithoutArguments)
            {
                throw new InvalidDataException($"The saved state has a suspended call of kind {saved}.");
            }

            Volatile.Write(ref _states[thread], saved);
        }
    }

    /// <summary>Whether a resumption carries an answer in X1–X5. OP-TEE looks at 32 bits of the information.</summary>
    internal bool TakesArguments(ulong resumeInformation) =>
        (uint)resumeInformation < MaximumThreads
        && Volatile.Read(ref _states[(uint)resumeInformation]) == WithArguments;

    /// <summary>Resumes a call, if it is suspended, with or without an answer in X1–X5.</summary>
    internal bool TryResume(ulong resumeInformation, bool hasArguments)
    {
        if ((uint)resumeInformation >= MaximumThreads)
        {
            return false;
        }

        int expected = hasArguments ? WithArguments : WithoutArguments;
        return Interlocked.CompareExchange(ref _states[(uint)resumeInformation], None, expected) == expected;
    }
}
