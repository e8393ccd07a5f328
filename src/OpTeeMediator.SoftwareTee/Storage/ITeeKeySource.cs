namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Supplies the root key of a TEE, from which the keys of VMs and applications are derived.</summary>
/// <remarks>
/// The package <c>OpTeeMediator.SoftwareTee.Linux</c> has key files and the kernel's keyrings; a VMM may have its own.
/// Called on any thread. What it throws becomes TEE_ERROR_STORAGE_NOT_AVAILABLE and a log entry.
/// </remarks>
public interface ITeeKeySource
{
    /// <summary>Reads the root key.</summary>
    /// <returns>32 bytes or more of full entropy, a copy for the caller, which overwrites it after use.</returns>
    byte[] ReadKey();
}
