namespace OpTeeMediator.KvmChecks;

/// <summary>KVM has not done what a check expects.</summary>
internal sealed class CheckFailedException(string message) : Exception(message);
