namespace OpTeeMediator.Backends;

/// <summary>A TEE cannot serve a VM: not there, not permitted, too old, full.</summary>
/// <remarks>The message says what was found, what was expected, and what to do.</remarks>
public sealed class TeeUnavailableException : Exception
{
    /// <summary>Creates the exception.</summary>
    public TeeUnavailableException() : base("The TEE is not available.")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found and what to do.</param>
    public TeeUnavailableException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found and what to do.</param>
    /// <param name="innerException">The cause.</param>
    public TeeUnavailableException(string message, Exception innerException) : base(message, innerException)
    {
    }
}
