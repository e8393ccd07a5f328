namespace OpTeeMediator.State;

/// <summary>The state of a VM's OP-TEE cannot be saved, or cannot be restored.</summary>
/// <remarks>The message says what was found, what was expected, and what to do. Nothing was changed.</remarks>
public sealed class OpTeeStateException : Exception
{
    /// <summary>Creates the exception.</summary>
    public OpTeeStateException() : base("The state of an OP-TEE cannot be used.")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found and what to do.</param>
    public OpTeeStateException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found and what to do.</param>
    /// <param name="innerException">The cause.</param>
    public OpTeeStateException(string message, Exception innerException) : base(message, innerException)
    {
    }
}
