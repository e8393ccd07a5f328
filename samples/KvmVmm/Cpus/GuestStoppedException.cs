namespace KvmVmm.Cpus;

/// <summary>The guest has done what this VMM cannot do for it; the message says what.</summary>
/// <param name="message">The message.</param>
internal sealed class GuestStoppedException(string message) : Exception(message);
