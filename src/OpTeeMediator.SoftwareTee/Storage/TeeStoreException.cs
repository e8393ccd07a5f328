namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>A store has failed. The message is for the operator.</summary>
public sealed class TeeStoreException : Exception
{
    /// <summary>The store is not available.</summary>
    public TeeStoreException()
    {
    }

    /// <inheritdoc cref="TeeStoreException()" path="/*[not(self::param)]"/>
    /// <param name="message">What has happened, and what to do.</param>
    public TeeStoreException(string message)
        : base(message)
    {
    }

    /// <inheritdoc cref="TeeStoreException(string)" path="/*[not(self::param)]"/>
    /// <param name="message">What has happened, and what to do.</param>
    /// <param name="innerException">The engine's own exception.</param>
    public TeeStoreException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }

    /// <summary>The store has failed for a given reason.</summary>
    /// <param name="failure">The reason.</param>
    /// <param name="message">What has happened, and what to do.</param>
    /// <param name="innerException">The engine's own exception, if there is one.</param>
    public TeeStoreException(TeeStoreFailure failure, string message, Exception? innerException)
        : base(message, innerException) => Failure = failure;

    /// <summary>Why.</summary>
    public TeeStoreFailure Failure { get; }
}
