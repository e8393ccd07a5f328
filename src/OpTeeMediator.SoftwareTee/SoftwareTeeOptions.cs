using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Hosting;

namespace OpTeeMediator.SoftwareTee;

/// <summary>What a <see cref="SoftwareTeeBackend"/> consists of.</summary>
/// <remarks>Read once, when the tee is made. Not thread-safe.</remarks>
public sealed class SoftwareTeeOptions
{
    /// <summary>The device enumeration, which the mediator itself answers (PTA_DEVICE_UUID of OP-TEE's <c>pta_device.h</c>).</summary>
    private static readonly Guid DeviceEnumeration = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");

    private readonly Dictionary<Guid, ApplicationRegistration> _registrations = [];

    /// <summary>
    /// Whether the tee has OP-TEE's random number generator (<see cref="SoftwareTeeBackend.RandomNumberGeneratorUuid"/>), which the guest's kernel uses as
    /// <c>/dev/hwrng</c>. The default is <see langword="true"/>.
    /// </summary>
    public bool ProvideRandomNumberGenerator { get; set; } = true;

    /// <summary>Adds a trusted application.</summary>
    /// <typeparam name="T">Its class.</typeparam>
    /// <param name="manifest">What it declares.</param>
    /// <param name="create">Makes a new instance, each time; called on the thread that opens the session.</param>
    /// <returns>These options.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The UUID is taken, reserved or all zero, or the manifest contradicts itself; the message says which and why.</exception>
    public SoftwareTeeOptions Add<T>(TrustedApplicationManifest manifest, Func<T> create)
        where T : TrustedApplication
    {
        ArgumentNullException.ThrowIfNull(create);
        return Add(manifest, _ => create());
    }

    /// <summary>Adds a trusted application that wants to know for which VM an instance is.</summary>
    /// <typeparam name="T">Its class.</typeparam>
    /// <param name="manifest">What it declares.</param>
    /// <param name="create">Makes a new instance for a VM, each time; called on the thread that opens the session.</param>
    /// <returns>These options.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The UUID is taken, reserved or all zero, or the manifest contradicts itself; the message says which and why.</exception>
    public SoftwareTeeOptions Add<T>(TrustedApplicationManifest manifest, Func<TeeVirtualMachine, T> create)
        where T : TrustedApplication
    {
        ArgumentNullException.ThrowIfNull(manifest);
        ArgumentNullException.ThrowIfNull(create);
        ThrowIfContradictory(manifest, typeof(T));
        if (_registrations.TryGetValue(manifest.Uuid, out ApplicationRegistration? other))
        {
            throw new ArgumentException($"{typeof(T)} has the UUID {manifest.Uuid}, which {other.Type} has already; each UUID names one application.", nameof(manifest));
        }

        _registrations.Add(manifest.Uuid, new ApplicationRegistration(manifest, typeof(T), create));
        return this;
    }

    /// <summary>All applications but the built-in one.</summary>
    /// <exception cref="ArgumentException">An application has the UUID of a built-in one.</exception>
    internal ApplicationRegistration[] ToRegistrations()
    {
        if (ProvideRandomNumberGenerator && _registrations.TryGetValue(SoftwareTeeBackend.RandomNumberGeneratorUuid, out ApplicationRegistration? other))
        {
            throw new ArgumentException($"{other.Type} has the UUID {other.Manifest.Uuid} of the built-in {nameof(RandomNumberGenerator)}; set {nameof(ProvideRandomNumberGenerator)} to false to put it in its place.");
        }

        return [.. _registrations.Values];
    }

    private static void ThrowIfContradictory(TrustedApplicationManifest manifest, Type type)
    {
        if (manifest.Uuid == Guid.Empty)
        {
            throw new ArgumentException($"{type} has an all-zero UUID; give it one of its own.", nameof(manifest));
        }

        if (manifest.Uuid == DeviceEnumeration)
        {
            throw new ArgumentException($"{type} has the UUID {manifest.Uuid} of the device enumeration, which the mediator answers itself; announce devices with {nameof(TrustedApplicationManifest.DeviceDependency)}.", nameof(manifest));
        }

        if (!manifest.SingleInstance && (manifest.MultiSession || manifest.InstanceKeepAlive || manifest.Concurrent))
        {
            throw new ArgumentException($"{type} declares {nameof(TrustedApplicationManifest.MultiSession)}, {nameof(TrustedApplicationManifest.InstanceKeepAlive)} or {nameof(TrustedApplicationManifest.Concurrent)}, which only a {nameof(TrustedApplicationManifest.SingleInstance)} can be; declare that too, or none of them.", nameof(manifest));
        }

        if (manifest.Concurrent && !manifest.MultiSession)
        {
            throw new ArgumentException($"{type} declares {nameof(TrustedApplicationManifest.Concurrent)} sessions but not {nameof(TrustedApplicationManifest.MultiSession)}; declare that too, or neither.", nameof(manifest));
        }

        if (!Enum.IsDefined(manifest.Execution))
        {
            throw new ArgumentException($"{type} declares the execution {manifest.Execution}; expected {nameof(TeeExecution.Worker)} or {nameof(TeeExecution.Inline)}.", nameof(manifest));
        }
    }
}
