namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>A record is missing, changed, swapped or older than its parent says.</summary>
/// <param name="message">Which one, for the operator.</param>
/// <param name="innerException">Why, if another exception tells.</param>
internal sealed class CorruptStorageException(string message, Exception? innerException = null)
    : Exception(message, innerException);
