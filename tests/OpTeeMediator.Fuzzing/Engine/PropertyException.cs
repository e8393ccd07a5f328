namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>What must hold for every input does not.</summary>
public sealed class PropertyException(string what) : Exception(what);
