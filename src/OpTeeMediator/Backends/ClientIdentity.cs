namespace OpTeeMediator.Backends;

/// <summary>Who the client is, as its guest claims.</summary>
/// <remarks>The guest's kernel has computed both, and nobody else vouches for them; except for
/// <see cref="TeeLogin.TrustedApplication"/>, which is the TEE's own word. Immutable, hence thread-safe.</remarks>
/// <param name="Login">The login type.</param>
/// <param name="Uuid">The client's UUID; all zero for <see cref="TeeLogin.Public"/> and kernels.</param>
public readonly record struct ClientIdentity(TeeLogin Login, Guid Uuid)
{
    /// <summary>Checks what a guest claims; <see cref="TeeLogin.TrustedApplication"/> is not for guests.</summary>
    /// <returns><see langword="false"/> if there is no such login for a guest.</returns>
    internal static bool TryClaim(TeeLogin login, Guid uuid, out ClientIdentity identity)
    {
        bool hasIdentity = login is TeeLogin.User or TeeLogin.Group or TeeLogin.Application or TeeLogin.UserApplication
            or TeeLogin.GroupApplication;
        identity = new ClientIdentity(login, hasIdentity ? uuid : Guid.Empty);
        return hasIdentity || login is TeeLogin.Public or TeeLogin.Kernel;
    }
}
