using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>The applications of a VM as they see each other: the same instances that the guest sees.</summary>
/// <remarks>
/// Each operation is made for one of the guest, on whose thread it runs: the root. None throws. Thread-safe.
/// </remarks>
internal interface IApplicationDirectory
{
    /// <summary>Opens a session.</summary>
    ValueTask<TeeResult> OpenSessionAsync(TeeRequest request, TeeRequest root);

    /// <summary>Invokes a command.</summary>
    ValueTask<TeeResult> InvokeCommandAsync(ITeeSession session, TeeRequest request, TeeRequest root);

    /// <summary>Closes a session: now, or after the root if it would wait for itself.</summary>
    ValueTask CloseAsync(ITeeSession session, TeeRequest request, TeeRequest root);
}
