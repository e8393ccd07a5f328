namespace OpTeeMediator.Testing.Supplied;

/// <summary>What a part that the VMM supplies throws in a test.</summary>
public sealed class SuppliedPartException(string method) : Exception($"{method} throws, as the test wants.");
