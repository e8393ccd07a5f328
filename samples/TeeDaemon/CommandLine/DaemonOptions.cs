using System.Globalization;
using KvmVmm.Tee;
using Microsoft.Extensions.Logging;

namespace TeeDaemon.CommandLine;

/// <summary>What the command line says.</summary>
internal sealed record DaemonOptions
{
    /// <summary>How the daemon is called.</summary>
    public const string Usage = """
        usage: teedaemon [OPTION...]
        A TEE for the VMs of this machine, which VMMs reach over a Unix socket (kvmvmm --tee remote:PATH).

          --socket PATH       its socket; not with a socket that systemd passes
          --allow-users UID,… the users whose VMMs it serves                  default: its own user
          --storage FILE      where its applications keep objects: an SQLite database, made if there is none
                                                                              default: they cannot keep any
          --storage postgres:CONNECTION
                              the same in a PostgreSQL database, by a connection string of Npgsql
          --storage guest:FILE, --storage guest:postgres:CONNECTION
                              the same in the guest's own files, by its tee-supplicant; only what they must be like
                              is in the database
          --storage-key FILE  the root key, 32 to 64 bytes, mode 0600         default: FILE.key beside FILE, made
                                                                              with a new database
          --storage-key keyring:NAME
                              the same, a key of type user in the kernel's keyrings
          --tpm FOLDER        gives each VM a TPM, whose state is in FOLDER; needs --storage, for the root key
          --heap MIB          the limit of each VM's managed heap             default: 256
          --user NAME         as whom VMs' processes run if it runs as root: whose the folder and the files of
                              --storage and --storage-key must be             default: nobody
          --in-process        all VMs in this process, which then harm each other
          --log LEVEL         messages on standard error: trace, debug, information, warning, error, none
                                                                              default: information
          --help              prints this

        Exit status: 0 it was stopped, 1 error, 2 wrong usage.
        """;

    private const int LeastHeap = 16;
    private const int MostHeap = 1 << 20;

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

    /// <summary>Reads the command line.</summary>
    /// <exception cref="UsageException">It is wrong.</exception>
    public static DaemonOptions Parse(ReadOnlySpan<string> arguments)
    {
        DaemonOptions options = new();
        while (!arguments.IsEmpty)
        {
            string name = arguments[0];
            if (name == "--in-process")
            {
                options = options with { IsInProcess = true };
                arguments = arguments[1..];
                continue;
            }

            string value = arguments.Length > 1 ? arguments[1] : throw new UsageException($"{name} needs a value");
            options = name switch
            {
                "--socket" => options with { SocketPath = value },
                "--allow-users" => options with { AllowedUsers = [.. value.Split(',').Select(UserOf)] },
                "--storage" => options with { Storage = value },
                "--storage-key" => options with { StorageKey = value },
                "--tpm" => options with { Tpm = value },
                "--heap" => options with { HeapMebibytes = HeapOf(value) },
                "--user" => options with { WorkerUser = value },
                "--log" => options with { LogLevel = LevelOf(value) },
                _ => throw new UsageException($"unknown option '{name}'"),
            };
            arguments = arguments[2..];
        }

        Check(options);
        return options;
    }

    private static void Check(DaemonOptions options)
    {
        if (options.Storage is null && (options.StorageKey is not null || options.Tpm is not null))
        {
            throw new UsageException("--storage-key and --tpm are for --storage, which is missing");
        }

        if (options.Storage is { } database && TeeStorage.IsShared(database) && options.StorageKey is null)
        {
            throw new UsageException("--storage postgres: needs --storage-key too");
        }
    }

    private static uint UserOf(string text) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out uint user)
            ? user
            : throw new UsageException($"--allow-users: expected user ids with commas between them, found '{text}'");

    private static int HeapOf(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int heap)
            && heap is >= LeastHeap and <= MostHeap
            ? heap
            : throw new UsageException($"--heap: expected a number from {LeastHeap} to {MostHeap}, found '{text}'");

    private static LogLevel LevelOf(string text) =>
        Enum.TryParse(text, ignoreCase: true, out LogLevel level) && !char.IsDigit(text[0])
            ? level
            : throw new UsageException(
                $"--log: expected trace, debug, information, warning, error or none, found '{text}'");
}
