namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>A system call of the host has failed.</summary>
/// <remarks>The message says which operation failed, with which error, and what to do. Thread-safe.</remarks>
public sealed class SystemCallException : IOException
{
    /// <summary>Creates the exception.</summary>
    public SystemCallException() : base("A system call has failed.")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">Which operation failed, and what to do.</param>
    public SystemCallException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">Which operation failed, and what to do.</param>
    /// <param name="innerException">The cause.</param>
    public SystemCallException(string message, Exception innerException) : base(message, innerException)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="operation">The operation that failed, such as <c>KVM_RUN of vCPU 0</c>.</param>
    /// <param name="errorNumber">The error number (errno).</param>
    /// <param name="advice">What to do, as sentences; empty if there is nothing to say.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    public SystemCallException(string operation, int errorNumber, string advice)
        : base(MessageOf(operation, errorNumber, advice))
    {
        ErrorNumber = errorNumber;
    }

    /// <summary>The error number (errno), or 0 if there is none.</summary>
    public int ErrorNumber { get; }

    /// <summary>The name of the error, such as <c>ENOENT</c>; empty if there is none.</summary>
    public string ErrorName => ErrorNumber == 0 ? "" : Errno.NameOf(ErrorNumber);

    private static string MessageOf(string operation, int errorNumber, string advice)
    {
        ArgumentNullException.ThrowIfNull(operation);
        ArgumentNullException.ThrowIfNull(advice);
        string separator = advice.Length == 0 ? "" : " ";
        return $"{operation} failed with {Errno.NameOf(errorNumber)} ({Errno.TextOf(errorNumber)}).{separator}{advice}";
    }
}
