namespace KvmVmm.Cpus;

/// <summary>The guest has done something that this VMM does not support, as the message describes.</summary>
/// <param name="message">The message.</param>
internal sealed class GuestStoppedException(string message) : Exception(message);
