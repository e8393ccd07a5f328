using OpTeeMediator.Backends;

namespace OpTeeMediator.Software.Hosting;

/// <summary>A trusted application of a <see cref="SoftwareTee"/>.</summary>
/// <param name="Manifest">What it declares.</param>
/// <param name="Type">Its class, for messages.</param>
/// <param name="Create">Makes an instance for a VM.</param>
internal sealed record ApplicationRegistration(
    TrustedApplicationManifest Manifest, Type Type, Func<TeeVirtualMachine, TrustedApplication> Create);
