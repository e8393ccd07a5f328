using KvmVmm.Tee;
using Microsoft.Extensions.Logging;

namespace TeeDaemon.CommandLine;

/// <summary>What the command line says.</summary>
internal sealed record DaemonOptions
{
    /// <summary>Where the socket is; <see langword="null"/> for one that is passed.</summary>
    public string? SocketPath { get; init; }

    /// <summary>Whose VMMs are served; <see langword="null"/> for the daemon's own user's.</summary>
    public IReadOnlyCollection<uint>? AllowedUsers { get; init; }

    /// <summary>
    /// The database of the applications' objects: an SQLite file, or "postgres:" and a connection string;
    /// <see langword="null"/> for none.
    /// </summary>
    public string? Storage { get; init; }

    /// <summary>
    /// The root key: a file, or "keyring:" and a name; <see langword="null"/> for the file beside an SQLite file.
    /// </summary>
    public string? StorageKey { get; init; }

    /// <summary>The folder of the VMs' TPMs; <see langword="null"/> for none.</summary>
    public string? Tpm { get; init; }

    /// <summary>The limit of each VM's managed heap.</summary>
    public int HeapMebibytes { get; init; } = 256;

    /// <summary>As whom VMs' processes run if the daemon runs as root.</summary>
    public string WorkerUser { get; init; } = "nobody";

    /// <summary>Whether all VMs are served by one process.</summary>
    public bool IsInProcess { get; init; }

    /// <summary>Which messages are written.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>
    /// What is wrong with options that are right one by one; <see langword="null"/> for nothing.
    /// </summary>
    public string? WrongCombination => this switch
    {
        { Storage: null, StorageKey: not null } or { Storage: null, Tpm: not null } =>
            "--storage-key and --tpm are for --storage, which is missing",
        { Storage: { } database, StorageKey: null } when TeeStorage.IsShared(database) =>
            "--storage postgres: needs --storage-key too",
        _ => null,
    };
}
