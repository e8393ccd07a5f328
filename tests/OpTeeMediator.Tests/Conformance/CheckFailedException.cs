namespace OpTeeMediator.Tests.Conformance;

/// <summary>A check of the conformance guest failed; the message has step, subject, expected and found.</summary>
internal sealed class CheckFailedException(string message) : Exception(message);
