namespace OpTeeMediator.Remote.Framing;

/// <summary>What a server permits one VM.</summary>
/// <param name="Operations">Operations at a time.</param>
/// <param name="Sessions">Open sessions.</param>
/// <param name="Buffers">Registered buffers; their numbers are below.</param>
/// <param name="Ranges">Pieces of files in all buffers together.</param>
/// <param name="Frame">The longest frame in bytes.</param>
internal readonly record struct ProtocolLimits(int Operations, int Sessions, int Buffers, int Ranges, int Frame);
