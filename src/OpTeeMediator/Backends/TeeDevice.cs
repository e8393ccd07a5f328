namespace OpTeeMediator.Backends;

/// <summary>A trusted application that the guest's kernel has a driver for.</summary>
/// <param name="Uuid">The application's UUID, by which the kernel's <c>tee</c> bus matches its drivers.</param>
/// <param name="Dependency">What must run before the device works.</param>
/// <remarks>Immutable, hence thread-safe. Source: OP-TEE's <c>pta_device.h</c>.</remarks>
public readonly record struct TeeDevice(Guid Uuid, TeeDeviceDependency Dependency = TeeDeviceDependency.None);
