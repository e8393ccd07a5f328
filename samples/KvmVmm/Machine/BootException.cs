namespace KvmVmm.Machine;

/// <summary>The guest cannot be started with these files: the message has what was found and what to do.</summary>
/// <param name="message">The message.</param>
internal sealed class BootException(string message) : Exception(message);
