namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The records of one VM. One transaction runs at a time.</summary>
public interface ITeeStoreSession : IDisposable
{
    /// <summary>Begins a transaction, in which the session's fencing number is checked.</summary>
    /// <param name="writes">Whether it will write.</param>
    ITeeStoreTransaction Begin(bool writes);
}
