using OpTeeMediator.Memory;

namespace KvmVmm.Devices;

/// <summary>A device that the guest sees as registers at addresses without memory.</summary>
/// <remarks>Thread-safe: every vCPU may reach it at any time.</remarks>
internal interface IMmioDevice
{
    GuestRange Range { get; }

    /// <summary>The guest reads a register.</summary>
    /// <param name="offset">The register's offset from the device's first address.</param>
    /// <returns>Its value.</returns>
    ulong Read(ulong offset);

    /// <summary>The guest writes a register.</summary>
    /// <param name="offset">The register's offset from the device's first address.</param>
    /// <param name="value">The value.</param>
    void Write(ulong offset, ulong value);
}
