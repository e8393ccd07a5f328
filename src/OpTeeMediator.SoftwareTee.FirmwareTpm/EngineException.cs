namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>swtpm did not start, or works no more; the message says what was found.</summary>
internal sealed class EngineException(string message, Exception? inner = null) : Exception(message, inner);
