namespace OpTeeMediator.Remote.Framing;

/// <summary>The peer has sent what the protocol does not permit: the connection is closed.</summary>
internal sealed class ProtocolException(string message) : Exception(message);
