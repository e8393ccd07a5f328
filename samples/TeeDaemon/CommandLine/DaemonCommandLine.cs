using System.CommandLine;
using System.Globalization;
using KvmVmm.CommandLine;
using Microsoft.Extensions.Logging;

namespace TeeDaemon.CommandLine;

/// <summary>The daemon's command line.</summary>
internal static class DaemonCommandLine
{
    private const int LeastHeap = 16;
    private const int MostHeap = 1 << 20;

    private static readonly DaemonOptions Defaults = new();

    private static readonly Option<string?> Socket =
        OptionFactory.Text("--socket", "PATH", "its socket; not with a socket that systemd passes");

    private static readonly Option<uint[]?> AllowedUsers = OptionFactory.Parsed<uint[]?>(
        "--allow-users",
        "UID,...",
        "the users whose VMMs it serves [default: its own user]",
        "user ids with commas between them",
        TryParse);

    private static readonly Option<string?> Storage = CommonOptions.Storage();

    private static readonly Option<string?> StorageKey = CommonOptions.StorageKey();

    private static readonly Option<string?> Tpm = OptionFactory.Text(
        "--tpm", "FOLDER", "gives each VM a TPM, whose state is in FOLDER; needs --storage, for the root key");

    private static readonly Option<int> Heap = OptionFactory.Number(
        "--heap", "MIB", "the limit of each VM's managed heap in MiB", LeastHeap, MostHeap, Defaults.HeapMebibytes);

    private static readonly Option<string?> User = OptionFactory.Text("--user", "NAME", """
        as whom VMs' processes run if it runs as root:
        whose the folder and the files of --storage and --storage-key must be
        """);

    private static readonly Option<bool> InProcess =
        new("--in-process") { Description = "all VMs in this process, which then harm each other" };

    private static readonly Option<LogLevel> Log = CommonOptions.Log(Defaults.LogLevel);

    private static readonly RootCommand Command = Create();

    /// <summary>Reads the command line.</summary>
    /// <param name="arguments">The arguments.</param>
    /// <returns>
    /// What is wrong with it, or its action, such as that of --help, or else what <see cref="OptionsOf"/> takes.
    /// </returns>
    public static ParseResult Parse(string[] arguments) => OptionFactory.Parse(Command, arguments);

    /// <summary>The options of a command line without errors and action.</summary>
    public static DaemonOptions OptionsOf(ParseResult line) => new()
    {
        SocketPath = line.GetValue(Socket),
        // Without the option the value is an empty array.
        AllowedUsers = line.GetResult(AllowedUsers) is null ? null : line.GetValue(AllowedUsers),
        Storage = line.GetValue(Storage),
        StorageKey = line.GetValue(StorageKey),
        Tpm = line.GetValue(Tpm),
        HeapMebibytes = line.GetValue(Heap),
        WorkerUser = line.GetRequiredValue(User)!,
        IsInProcess = line.GetValue(InProcess),
        LogLevel = line.GetValue(Log),
    };

    private static RootCommand Create()
    {
        User.DefaultValueFactory = _ => Defaults.WorkerUser;
        return new RootCommand("""
            A TEE for the VMs of this machine, which VMMs reach over a Unix socket (kvmvmm --tee remote:PATH).
            Exit status: 0 it was stopped, 1 error, 2 wrong usage.
            """)
        {
            Socket,
            AllowedUsers,
            Storage,
            StorageKey,
            Tpm,
            Heap,
            User,
            InProcess,
            Log,
        };
    }

    private static bool TryParse(string text, out uint[]? users)
    {
        users = null;
        List<uint> found = [];
        foreach (string one in text.Split(','))
        {
            if (!uint.TryParse(one, NumberStyles.None, CultureInfo.InvariantCulture, out uint user))
            {
                return false;
            }

            found.Add(user);
        }

        users = [.. found];
        return true;
    }
}
