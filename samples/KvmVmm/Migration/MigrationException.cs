namespace KvmVmm.Migration;

/// <summary>A VM cannot be moved, as the message says; it stays where it is.</summary>
/// <param name="message">The message.</param>
/// <param name="cause">The cause.</param>
internal sealed class MigrationException(string message, Exception? cause = null) : Exception(message, cause);
