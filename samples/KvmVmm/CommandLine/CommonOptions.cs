using System.CommandLine;
using Microsoft.Extensions.Logging;

namespace KvmVmm.CommandLine;

/// <summary>The options that the VMM and the daemon have in common.</summary>
internal static class CommonOptions
{
    /// <summary>Where the applications of the software TEE keep their objects.</summary>
    public static Option<string?> Storage() => OptionFactory.Text("--storage", "DATABASE", """
        where its applications keep their objects [default: they cannot keep any]
        FILE: an SQLite database, made if there is none
        postgres:CONNECTION: a PostgreSQL database, by a connection string of Npgsql
        guest:FILE, guest:postgres:CONNECTION: the guest's own files, by its tee-supplicant;
        the database has only what they must be like
        """);

    /// <summary>The root key of this database.</summary>
    public static Option<string?> StorageKey() => OptionFactory.Text("--storage-key", "KEY", """
        the root key of --storage, 32 to 64 bytes [default: FILE.key beside FILE, made with a new database]
        FILE: a file with mode 0600
        keyring:NAME: a key of type user in the kernel's keyrings
        """);

    /// <summary>Which messages are written.</summary>
    /// <param name="standard">The least important ones without the option.</param>
    public static Option<LogLevel> Log(LogLevel standard)
    {
        const string Levels = "trace, debug, information, warning, error, critical or none";

        // Numbers, which Enum.TryParse takes too, are not meant.
        Option<LogLevel> option = OptionFactory.Parsed(
            "--log",
            "LEVEL",
            $"messages on standard error: {Levels}",
            Levels,
            (string text, out LogLevel level) =>
                Enum.TryParse(text, ignoreCase: true, out level) && char.IsLetter(text[0]));
        option.DefaultValueFactory = _ => standard;
        return option;
    }
}
