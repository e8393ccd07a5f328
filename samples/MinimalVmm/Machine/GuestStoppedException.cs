namespace MinimalVmm.Machine;

/// <summary>The guest did something that its machine does not have.</summary>
internal sealed class GuestStoppedException(string message) : Exception(message);
