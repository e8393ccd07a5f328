namespace KvmVmm.CommandLine;

/// <summary>The command line is wrong: the message has what was found and what was expected.</summary>
/// <param name="message">The message.</param>
internal sealed class UsageException(string message) : Exception(message);
