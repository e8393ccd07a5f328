using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>Adds the firmware TPM to a software TEE.</summary>
public static class FirmwareTpmExtensions
{
    /// <summary>The firmware TPM's UUID, for <see cref="TeeAccess.Only"/> (TA_FTPM_UUID of Linux's driver).</summary>
    public static Guid FirmwareTpmUuid { get; } = new("bc50d971-d4c9-42c4-82cb-343fb7f37896");

    /// <summary>Gives each VM a TPM 2.0, which Linux's driver <c>tpm_ftpm_tee</c> makes its <c>/dev/tpm0</c>.</summary>
    /// <param name="options">The options to extend.</param>
    /// <param name="tpm">How the TPMs are run.</param>
    /// <returns>Options with the firmware TPM; <paramref name="options"/> is unchanged.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A time of <paramref name="tpm"/> is out of its range.</exception>
    /// <exception cref="ArgumentException">The folder's path is too long, or the UUID is taken.</exception>
    /// <exception cref="TeeUnavailableException">
    /// The host's swtpm is missing or cannot do what is needed; the message says what to do. So the TPM is announced to
    /// guests only on a host that has one.
    /// </exception>
    /// <remarks>
    /// Runs swtpm once to ask for its features. The TPM is for VMs that have an
    /// <see cref="TeeVirtualMachine.Identity"/>, in a TEE with a <see cref="SoftwareTeeOptions.KeySource"/>: its state
    /// is encrypted under a key derived from both.
    /// </remarks>
    public static SoftwareTeeOptions AddFirmwareTpm(this SoftwareTeeOptions options, FirmwareTpmOptions tpm)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(tpm);
        foreach (TimeSpan time in (TimeSpan[])[tpm.CommandTimeout, tpm.StartTimeout])
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(time, TimeSpan.Zero, nameof(tpm));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(time, TimeSpan.FromDays(1), nameof(tpm));
        }

        EngineLauncher launcher = new(tpm);
        TrustedApplicationManifest manifest = new(FirmwareTpmUuid)
        {
            SingleInstance = true,
            MultiSession = true,

            // A driver that is loaded again must find the PCRs as they were; the reset of the VM ends the instance.
            InstanceKeepAlive = true,
            NeedsKeys = true,
            DeviceDependency = TeeDeviceDependency.None,
        };
        return options.Add(
            manifest, virtualMachine => new FirmwareTpmApplication(launcher, virtualMachine));
    }
}
