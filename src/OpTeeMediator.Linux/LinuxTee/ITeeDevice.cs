using System.Runtime.InteropServices;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>An open file of the host's TEE driver: a context of its own. Tests put their own in its place.</summary>
/// <remarks>Thread-safe. Each method answers 0 or an error number (<see cref="Errno"/>), and takes as long as the TEE
/// takes. What is registered and not released lives as long as its handle, even longer than the context.</remarks>
internal interface ITeeDevice : IDisposable
{
    /// <summary>TEE_IOC_VERSION.</summary>
    int GetVersion(out TeeVersionData version);

    /// <summary>The device's attribute <c>revision</c> in sysfs; <see langword="null"/> if there is none.</summary>
    string? ReadRevision();

    /// <summary>TEE_IOC_OPEN_SESSION.</summary>
    int OpenSession(ref TeeOpenSessionArgument argument);

    /// <summary>TEE_IOC_INVOKE.</summary>
    int Invoke(ref TeeInvokeArgument argument);

    /// <summary>TEE_IOC_CANCEL.</summary>
    int Cancel(uint session, uint cancelId);

    /// <summary>TEE_IOC_CLOSE_SESSION.</summary>
    int CloseSession(uint session);

    /// <summary>TEE_IOC_SHM_REGISTER: pins the pages behind a range of addresses, which need neither be aligned nor
    /// stay mapped. The registration lasts until it is disposed of.</summary>
    int RegisterMemory(nint address, nuint length, out SafeHandle? registration, out int id);
}
