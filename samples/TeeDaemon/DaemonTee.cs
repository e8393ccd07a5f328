using System.Runtime.Versioning;
using KvmVmm.Tee;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;
using TeeDaemon.CommandLine;

namespace TeeDaemon;

/// <summary>The TEE that the daemon serves.</summary>
[SupportedOSPlatform("linux")]
internal static class DaemonTee
{
    /// <summary>Makes the TEE, and opens its database.</summary>
    /// <exception cref="OpTeeMediator.Backends.TeeUnavailableException">The host has no usable swtpm.</exception>
    /// <exception cref="TeeStoreException">Database or key cannot be used; the message says why.</exception>
    public static SoftwareTeeBackend Create(DaemonOptions options)
    {
        SoftwareTeeOptions tee = new();
        if (options.Storage is { } file)
        {
            tee = (tee with
            {
                KeySource = KeyOf(options, file),
                Storage = new TrustedStorageOptions(new SqliteTeeStore(file)),
            }).AddTrustedKeys();
        }

        if (options.Tpm is { } folder)
        {
            tee = tee.AddFirmwareTpm(new FirmwareTpmOptions(folder));
        }

        return new SoftwareTeeBackend(tee
            .Add(new TrustedApplicationManifest(SumApplication.Uuid), () => new SumApplication())
            .Add(new TrustedApplicationManifest(GuestApplication.Uuid), () => new GuestApplication())
            .Add(ObjectApplication.Manifest, () => new ObjectApplication()));
    }

    // A new database gets a new key beside it. Without its key, an old one is not touched.
    private static TeeKeyFile KeyOf(DaemonOptions options, string file)
    {
        string path = options.StorageKey ?? $"{file}.key";
        if (options.StorageKey is null && !File.Exists(file) && !File.Exists(path))
        {
            TeeKeyFile.Create(path);
        }

        TeeKeyFile key = new(path);
        Array.Clear(key.ReadKey());
        return key;
    }
}
