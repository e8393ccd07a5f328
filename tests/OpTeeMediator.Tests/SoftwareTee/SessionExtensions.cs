using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests;

/// <summary>Shorter forms for tests that drive a backend's session themselves.</summary>
internal static class SessionExtensions
{
    /// <summary>Closes a session, with no guest to ask.</summary>
    public static ValueTask CloseAsync(this ITeeSession session) =>
        session.CloseAsync(new TeeRequest { Operation = TeeOperation.CloseSession });
}
