using System.Collections.Immutable;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Hosting;
using OpTeeMediator.SoftwareTee.KernelKeys;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee;

/// <summary>What a <see cref="SoftwareTeeBackend"/> consists of. Every property has a default.</summary>
/// <remarks>
/// Immutable, hence thread-safe: <see cref="Add{T}(TrustedApplicationManifest, Func{T})"/> returns other options. The
/// TEE logs to the logger factory of each VM's <see cref="Guests.OpTeeGuestOptions"/>.
/// </remarks>
public sealed record SoftwareTeeOptions
{
    // The device enumeration, which the mediator itself answers (PTA_DEVICE_UUID of OP-TEE's pta_device.h).
    private static readonly Guid DeviceEnumeration = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");

    /// <summary>
    /// Whether the TEE has OP-TEE's random number generator
    /// (<see cref="SoftwareTeeBackend.RandomNumberGeneratorUuid"/>), which the guest's kernel uses as
    /// <c>/dev/hwrng</c>. Default <see langword="true"/>.
    /// </summary>
    public bool ProvideRandomNumberGenerator { get; init; } = true;

    /// <summary>
    /// How much the applications of a VM may allocate with <see cref="TrustedApplication.Allocate"/>, in bytes: 0 or
    /// more. Default 32 MiB.
    /// </summary>
    public long MemoryQuota { get; init; } = 32 << 20;

    /// <summary>
    /// The root key, from which <see cref="TrustedApplication.DeriveKey"/> and <see cref="Storage"/> derive the keys of
    /// each VM and application, as a TEE does from its hardware unique key; <see langword="null"/>, the default, for
    /// none.
    /// </summary>
    public ITeeKeySource? KeySource { get; init; }

    /// <summary>
    /// Where applications keep their objects; <see langword="null"/>, the default, if they cannot:
    /// TEE_ERROR_STORAGE_NOT_AVAILABLE. It needs a <see cref="KeySource"/>, and serves VMs that have an
    /// <see cref="Guests.OpTeeGuestOptions.Identity"/>.
    /// </summary>
    public TrustedStorageOptions? Storage { get; init; }

    /// <summary>The applications that were added, by UUID.</summary>
    internal ImmutableDictionary<Guid, ApplicationRegistration> Registrations { get; private init; } =
        ImmutableDictionary<Guid, ApplicationRegistration>.Empty;

    /// <summary>Adds a trusted application.</summary>
    /// <typeparam name="T">Its class.</typeparam>
    /// <param name="manifest">Its declaration.</param>
    /// <param name="create">Makes a new instance, each time; called on the thread that opens the session.</param>
    /// <returns>Options with the application; these are unchanged.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">
    /// The UUID is taken, reserved or all zero, or the manifest contradicts itself; the message names it and the
    /// reason.
    /// </exception>
    public SoftwareTeeOptions Add<T>(TrustedApplicationManifest manifest, Func<T> create)
        where T : TrustedApplication
    {
        ArgumentNullException.ThrowIfNull(create);
        return Add(manifest, _ => create());
    }

    /// <inheritdoc cref="Add{T}(TrustedApplicationManifest, Func{T})" path="/*[not(self::summary or self::param)]"/>
    /// <summary>Adds a trusted application whose instances depend on the VM.</summary>
    /// <param name="manifest">Its declaration.</param>
    /// <param name="create">Makes a new instance for a VM; called on the thread that opens the session.</param>
    public SoftwareTeeOptions Add<T>(TrustedApplicationManifest manifest, Func<TeeVirtualMachine, T> create)
        where T : TrustedApplication
    {
        ArgumentNullException.ThrowIfNull(manifest);
        ArgumentNullException.ThrowIfNull(create);
        ThrowIfContradictory(manifest, typeof(T));
        if (Registrations.TryGetValue(manifest.Uuid, out ApplicationRegistration? other))
        {
            throw new ArgumentException(
                $"{typeof(T)} has the UUID {manifest.Uuid}, which {other.Type} has already; each UUID names one "
                    + "application.",
                nameof(manifest));
        }

        ApplicationRegistration registration = new(manifest, typeof(T), create);
        return this with { Registrations = Registrations.Add(manifest.Uuid, registration) };
    }

    /// <summary>
    /// Adds what makes the guest's kernel have trusted keys (<c>keyctl add trusted</c>): it seals keys so that only
    /// this VM can load them again.
    /// </summary>
    /// <returns>Options with trusted keys; these are unchanged.</returns>
    /// <exception cref="ArgumentException">
    /// The UUID <see cref="SoftwareTeeBackend.TrustedKeysUuid"/> is taken.
    /// </exception>
    /// <remarks>
    /// For VMs that have an <see cref="Guests.OpTeeGuestOptions.Identity"/>, with a <see cref="KeySource"/>; to others
    /// it is not announced. Only the guest's kernel may open sessions (TEE_LOGIN_REE_KERNEL).
    /// </remarks>
    public SoftwareTeeOptions AddTrustedKeys() => Add(TrustedKeys.Manifest, () => new TrustedKeys());

    internal void Validate()
    {
        if (Storage is { Quota: < 0 })
        {
            throw new ArgumentException(
                $"{nameof(SoftwareTeeOptions)}.{nameof(Storage)}.{nameof(TrustedStorageOptions.Quota)} is "
                + $"{Storage.Quota}; expected 0 or more bytes.");
        }

        if (MemoryQuota < 0)
        {
            throw new ArgumentException(
                $"{nameof(SoftwareTeeOptions)}.{nameof(MemoryQuota)} is {MemoryQuota}; expected 0 or more bytes.");
        }

        if (Storage is not null && KeySource is null)
        {
            throw new ArgumentException(
                $"{nameof(SoftwareTeeOptions)}.{nameof(Storage)} needs a root key to encrypt with; set "
                + $"{nameof(KeySource)} too.");
        }

        if (ProvideRandomNumberGenerator
            && Registrations.TryGetValue(RandomNumberGenerator.Uuid, out ApplicationRegistration? other))
        {
            throw new ArgumentException(
                $"{other.Type} has the UUID {other.Manifest.Uuid} of the built-in random number generator; set "
                + $"{nameof(SoftwareTeeOptions)}.{nameof(ProvideRandomNumberGenerator)} to false to replace it.");
        }
    }

    private static void ThrowIfContradictory(TrustedApplicationManifest manifest, Type type)
    {
        const string Multi = nameof(TrustedApplicationManifest.MultiSession);
        const string Concurrent = nameof(TrustedApplicationManifest.Concurrent);
        string? fault = manifest switch
        {
            _ when manifest.Uuid == Guid.Empty => "has an all-zero UUID; give it one of its own",
            _ when manifest.Uuid == DeviceEnumeration =>
                $"has the UUID {manifest.Uuid} of the device enumeration, which the mediator answers itself; announce "
                + $"devices with {nameof(TrustedApplicationManifest.DeviceDependency)}",
            { SingleInstance: false }
                and ({ MultiSession: true } or { InstanceKeepAlive: true } or { Concurrent: true }) =>
                $"declares {Multi}, {nameof(TrustedApplicationManifest.InstanceKeepAlive)} or {Concurrent}, which only "
                + $"a {nameof(TrustedApplicationManifest.SingleInstance)} can be; declare that too, or none of them",
            { Concurrent: true, MultiSession: false } =>
                $"declares {Concurrent} sessions but not {Multi}; declare that too, or neither",
            _ when !Enum.IsDefined(manifest.Execution) =>
                $"declares the execution {manifest.Execution}; expected {nameof(TeeExecution.Worker)} or "
                + nameof(TeeExecution.Inline),
            _ => null,
        };
        if (fault is not null)
        {
            throw new ArgumentException($"{type} {fault}.", nameof(manifest));
        }
    }
}
