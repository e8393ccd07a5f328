using System.CommandLine;
using KvmVmm.Machine;
using KvmVmm.Migration;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace KvmVmm.CommandLine;

/// <summary>The VMM's command line.</summary>
internal static class VmmCommandLine
{
    // A kernel needs at least the former; the host limits the addresses of a VM.
    private const int LeastMebibytes = 64;
    private const int MostMebibytes = 16 << 20;
    private const int MostRounds = 1000;
    private const int MostSeconds = 600;

    private static readonly VmmOptions Defaults = new() { Kernel = "" };

    private static readonly Option<string?> Kernel =
        OptionFactory.Text("--kernel", "IMAGE", "the guest's kernel, an uncompressed arm64 Image");

    private static readonly Option<string?> Initrd = OptionFactory.Text("--initrd", "FILE", "its initramfs");

    private static readonly Option<string?> KernelParameters =
        OptionFactory.Text("--cmdline", "TEXT", "its parameters");

    private static readonly Option<string?> Disk =
        OptionFactory.Text("--disk", "FILE", "its disk (virtio), read-only if the file is");

    private static readonly Option<int> Memory = OptionFactory.Number(
        "--memory", "MIB", "its memory in MiB", LeastMebibytes, MostMebibytes, Defaults.MemoryMebibytes);

    private static readonly Option<int> Cpus =
        OptionFactory.Number("--cpus", "N", "its CPUs", 1, MemoryMap.MaximumCpus, Defaults.Cpus);

    private static readonly Option<TeeChoice?> Tee = OptionFactory.Parsed<TeeChoice?>(
        "--tee",
        "TEE",
        """
        its TEE [default: linux]
        linux, linux:PATH: the host's, at /dev/tee0 or PATH
        software: in this process; random numbers and applications (see --list)
        companion, companion:IMAGE: an OP-TEE of its own, in a VM; the image of Debian's optee-os or another
        remote:PATH: in another process, which listens at PATH (samples/TeeDaemon)
        """,
        "linux, linux:PATH, software, remote:PATH, companion or companion:IMAGE",
        TeeChoice.TryParse);

    private static readonly Option<string?> Storage = CommonOptions.Storage();

    private static readonly Option<string?> StorageKey = CommonOptions.StorageKey();

    private static readonly Option<Guid?> VmId = OptionFactory.Parsed(
        "--vm-id",
        "UUID",
        """
        the VM's identity for --tee software and remote: the same at each start, and no other VM's
        [default: a constant with software, none with remote]; keys and objects belong to it
        """,
        "a UUID that is not zero",
        (string text, out Guid? id) => (id = UuidOf(text)) is not null);

    private static readonly Option<TeeAccess?> Access = OptionFactory.Parsed<TeeAccess?>(
        "--allow",
        "UUID,...",
        "the trusted applications it may reach, or all, or none [default: none with linux, otherwise all]",
        "all, none, or UUIDs with commas between them",
        (string text, out TeeAccess? access) => (access = AccessOf(text)) is not null);

    // Not of bool, which would have true and false as values.
    private static readonly Option<string?> Notifications = OptionFactory.Parsed<string?>(
        "--notify",
        "on|off",
        "whether an interrupt wakes threads of the guest, which then sleep during long calls [default: on]",
        "on or off",
        (string text, out string? value) => (value = text) is "on" or "off");

    private static readonly Option<bool> TeeLog =
        new("--tee-log") { Description = "also logs the console of the companion's OP-TEE; slow" };

    private static readonly Option<string?> Trace = OptionFactory.Text(
        "--trace", "FILE", "writes what the guest's calls of its TEE do, for ui.perfetto.dev; not with companion");

    private static readonly Option<bool> Metrics = new("--metrics")
    {
        Description = "measures these calls, and writes the result on standard error at the end; not with companion",
    };

    private static readonly Option<string?> Save = OptionFactory.Text("--save", "FILE", """
        saves the VM there at SIGUSR1, and ends; not while it has sessions that cannot move:
        those of --tee linux, and of applications that do not say how
        """);

    private static readonly Option<int> SaveWait = OptionFactory.Number(
        "--save-wait", "SECONDS", """
        how long its TEE has to finish its work before the VM is saved or moved; the guest runs meanwhile,
        and what has not ended then cannot move
        """, 0, MostSeconds, Defaults.SaveWait);

    private static readonly Option<string?> SaveSessions = OptionFactory.Parsed<string?>(
        "--save-sessions",
        "refuse|drop",
        """
        what happens to these when the VM is to be saved or moved [default: refuse]
        refuse: the VM is not, and goes on
        drop: they end as if their applications had died; clients get TEE_ERROR_TARGET_DEAD
        """,
        "refuse or drop",
        (string text, out string? value) => (value = text) is "refuse" or "drop");

    private static readonly Option<string?> Restore =
        OptionFactory.Text("--restore", "FILE", "goes on with a saved VM; all other options as then");

    private static readonly Option<MigrationAddress?> MigrateTo = Address("--migrate-to", """
        moves the VM there at SIGUSR2, while it runs, and ends; not what --save cannot save
        ADDRESS: a Unix socket's path with a '/', or IPADDRESS:PORT, which needs --state-key
        """);

    private static readonly Option<MigrationAddress?> MigrateFrom =
        Address("--migrate-from", "waits for a VM that moves there; all other options as it has them");

    private static readonly Option<int> MigrationRounds = OptionFactory.Number(
        "--migrate-rounds", "N", "how often its memory is copied while it runs, after the first time", 1, MostRounds,
        Defaults.MigrationRounds);

    private static readonly Option<int> MigrationRest = OptionFactory.Number(
        "--migrate-rest", "PAGES", "at how few pages that were written meanwhile it is stopped earlier", 0,
        int.MaxValue, Defaults.MigrationRest);

    private static readonly Option<bool> ChecksPages =
        new("--check-pages") { Description = "compares each page when the VM moves; makes the pause longer" };

    private static readonly Option<string?> StateKey = OptionFactory.Text("--state-key", "KEY", """
        the key that encrypts these files and moves, 32 to 64 bytes [default: none, only a checksum]
        FILE: a file with mode 0600
        keyring:NAME: a key of type user in the kernel's keyrings
        """);

    private static readonly Option<LogLevel> Log = CommonOptions.Log(Defaults.LogLevel);

    private static readonly Option<bool> List = new("--list")
    {
        Description = "prints the applications of --tee software",
        Action = new ListAction(),
    };

    private static readonly RootCommand Command = Create();

    /// <summary>Reads the command line.</summary>
    /// <param name="arguments">The arguments.</param>
    /// <returns>
    /// What is wrong with it, or its action, such as that of --help, or else what <see cref="OptionsOf"/> takes.
    /// </returns>
    public static ParseResult Parse(string[] arguments) => OptionFactory.Parse(Command, arguments);

    /// <summary>The options of a command line without errors and action.</summary>
    public static VmmOptions OptionsOf(ParseResult line) => new()
    {
        Kernel = line.GetRequiredValue(Kernel)!,
        Initrd = line.GetValue(Initrd),
        KernelParameters = line.GetRequiredValue(KernelParameters)!,
        Disk = line.GetValue(Disk),
        MemoryMebibytes = line.GetValue(Memory),
        Cpus = line.GetValue(Cpus),
        Tee = line.GetValue(Tee) ?? Defaults.Tee,
        LogsTee = line.GetValue(TeeLog),
        Storage = line.GetValue(Storage),
        StorageKey = line.GetValue(StorageKey),
        VmId = line.GetValue(VmId),
        Access = line.GetValue(Access),
        HasNotifications = line.GetValue(Notifications) != "off",
        Trace = line.GetValue(Trace),
        PrintsMetrics = line.GetValue(Metrics),
        Save = line.GetValue(Save),
        SaveWait = line.GetValue(SaveWait),
        DropsSessions = line.GetValue(SaveSessions) == "drop",
        Restore = line.GetValue(Restore),
        MigrateTo = line.GetValue(MigrateTo),
        MigrateFrom = line.GetValue(MigrateFrom),
        MigrationRounds = line.GetValue(MigrationRounds),
        MigrationRest = line.GetValue(MigrationRest),
        ChecksPages = line.GetValue(ChecksPages),
        StateKey = line.GetValue(StateKey),
        LogLevel = line.GetValue(Log),
    };

    private static RootCommand Create()
    {
        Kernel.Required = true;
        KernelParameters.DefaultValueFactory = _ => Defaults.KernelParameters;
        return new RootCommand("""
            Runs a Linux guest in a VM of KVM (arm64) and gives it an OP-TEE. Standard input and output are its console.
            On a terminal Ctrl-A x ends the VMM.
            Exit status: 0 the guest powered off or the VMM was stopped, 1 error, 2 wrong usage, 3 the guest crashed.
            """)
        {
            Kernel,
            Initrd,
            KernelParameters,
            Disk,
            Memory,
            Cpus,
            Tee,
            Storage,
            StorageKey,
            VmId,
            Access,
            Notifications,
            TeeLog,
            Trace,
            Metrics,
            Save,
            SaveWait,
            SaveSessions,
            Restore,
            MigrateTo,
            MigrateFrom,
            MigrationRounds,
            MigrationRest,
            ChecksPages,
            StateKey,
            Log,
            List,
        };
    }

    private static Option<MigrationAddress?> Address(string name, string description) =>
        OptionFactory.Parsed<MigrationAddress?>(
            name,
            "ADDRESS",
            description,
            "a path with a '/', or IPADDRESS:PORT",
            (string text, out MigrationAddress? address) =>
                (address = MigrationAddress.TryParse(text)) is not null);

    private static TeeAccess? AccessOf(string text)
    {
        Guid?[] ids = [.. text.Split(',').Select(UuidOf)];
        return text switch
        {
            "all" => TeeAccess.All,
            "none" => TeeAccess.None,
            _ => Array.TrueForAll(ids, id => id is not null) ? TeeAccess.Only(ids.Select(id => id!.Value)) : null,
        };
    }

    private static Guid? UuidOf(string text) =>
        Guid.TryParseExact(text, "D", out Guid id) && id != Guid.Empty ? id : null;
}
