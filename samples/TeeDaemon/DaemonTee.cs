using System.Runtime.Versioning;
using ExampleApplications;
using KvmVmm.Tee;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.SoftwareTee.Storage;
using TeeDaemon.CommandLine;

namespace TeeDaemon;

/// <summary>The TEE that the daemon serves.</summary>
[SupportedOSPlatform("linux")]
internal static class DaemonTee
{
    /// <summary>Makes the TEE, and opens its database.</summary>
    /// <param name="options">What the command line says.</param>
    /// <param name="opensStorage">
    /// Whether this process opens the database: a daemon that runs as root leaves it to its workers, which run as
    /// another user.
    /// </param>
    /// <exception cref="OpTeeMediator.Backends.TeeUnavailableException">The host has no usable swtpm.</exception>
    /// <exception cref="TeeStoreException">Database or key cannot be used; the message says why.</exception>
    public static SoftwareTeeBackend Create(DaemonOptions options, bool opensStorage)
    {
        SoftwareTeeOptions tee = new();
        if (opensStorage && options.Storage is { } database)
        {
            // As long as the process.
            tee = TeeStorage.Open(database, options.StorageKey).Options.AddTrustedKeys();
        }

        if (opensStorage && options.Tpm is { } folder)
        {
            tee = tee.AddFirmwareTpm(new FirmwareTpmOptions(folder));
        }

        return new SoftwareTeeBackend(tee
            .Add(new TrustedApplicationManifest(SumApplication.Uuid), () => new SumApplication())
            .Add(new TrustedApplicationManifest(GuestApplication.Uuid), () => new GuestApplication())
            .Add(StorageBenchmarkApplication.Manifest, () => new StorageBenchmarkApplication())
            .AddExampleApplications());
    }
}
