using OpTeeMediator.Protocol;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What each suspended call has asked of the guest, so that its resumption hands over no more registers than the answer needs.</summary>
/// <remarks>
/// A guest that lies about the resume information gets registers wrong that are its own to get wrong: OP-TEE checks what it resumes. Thread-safe.
/// </remarks>
internal sealed class SuspendedCalls
{
    // OP-TEE's resume information is the number of its thread.
    private const int MaximumThreads = 256;

    private readonly bool[] _hasNoArguments = new bool[MaximumThreads];

    /// <summary>OP-TEE has suspended a call.</summary>
    internal void Note(uint rpc, ulong resumeInformation)
    {
        if ((uint)resumeInformation < MaximumThreads)
        {
            Volatile.Write(ref _hasNoArguments[(uint)resumeInformation], rpc is OpTeeSmc.ReturnRpcForeignInterrupt or OpTeeSmc.ReturnRpcCommand);
        }
    }

    /// <summary>Whether a resumption carries an answer in X1–X5.</summary>
    internal bool TakesArguments(ulong resumeInformation) =>
        (uint)resumeInformation >= MaximumThreads || !Volatile.Read(ref _hasNoArguments[(uint)resumeInformation]);
}
