using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>A trusted application of a software TEE.</summary>
/// <param name="Manifest">What it declares.</param>
/// <param name="Type">Its class, for messages.</param>
/// <param name="Create">Makes an instance for a VM.</param>
internal sealed record ApplicationRegistration(
    TrustedApplicationManifest Manifest, Type Type, Func<TeeVirtualMachine, TrustedApplication> Create);
