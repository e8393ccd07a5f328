namespace OpTeeMediator.Backends;

/// <summary>Who the client is, as its guest claims.</summary>
/// <remarks>The guest's kernel has computed both, and nobody else vouches for them; except for
/// <see cref="TeeLogin.TrustedApplication"/>, which is the TEE's own word. Immutable, hence thread-safe.</remarks>
/// <param name="Login">The login type.</param>
/// <param name="Uuid">The client's UUID; all zero for <see cref="TeeLogin.Public"/> and kernels.</param>
public readonly record struct ClientIdentity(TeeLogin Login, Guid Uuid);
