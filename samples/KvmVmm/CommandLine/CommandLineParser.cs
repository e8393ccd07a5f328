using System.Globalization;
using KvmVmm.Machine;
using KvmVmm.Tee;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace KvmVmm.CommandLine;

/// <summary>Reads the command line.</summary>
internal static class CommandLineParser
{
    /// <summary>How the VMM is called.</summary>
    public const string Usage = """
        usage: kvmvmm --kernel IMAGE [OPTION...]
        Runs a Linux guest in a VM of KVM (arm64) and gives it an OP-TEE. Standard input and output are its console.

          --kernel IMAGE      the guest's kernel, an uncompressed arm64 Image
          --initrd FILE       its initramfs
          --cmdline TEXT      its parameters                                  default: console=ttyAMA0
          --disk FILE         its disk (virtio), read-only if the file is
          --memory MIB        its memory                                      default: 256
          --cpus N            its CPUs                                        default: 1
          --tee linux[:PATH]  its TEE is the host's, at PATH                  default: linux:/dev/tee0
          --tee software      its TEE is in this process: random numbers and applications (see --list)
          --tee companion[:IMAGE]
                              its TEE is an OP-TEE of its own, in a VM        default: the image of Debian's optee-os
          --tee remote:PATH   its TEE is in another process, which listens at PATH (samples/TeeDaemon)
          --storage FILE      where the applications of --tee software keep their objects: an SQLite database, made
                              if there is none                                default: they cannot keep any
          --storage postgres:CONNECTION
                              the same in a PostgreSQL database, by a connection string of Npgsql
          --storage guest:FILE, --storage guest:postgres:CONNECTION
                              the same in the guest's own files, by its tee-supplicant; only what they must be like
                              is in the database
          --storage-key FILE  its root key, 32 to 64 bytes, mode 0600         default: FILE.key beside FILE, made
                                                                              with a new database
          --storage-key keyring:NAME
                              the same, a key of type user in the kernel's keyrings
          --vm-id UUID        the VM's identity for --tee software and --tee remote: the same at each start, and no
                              other VM's; keys and objects belong to it
                                                             default: a constant with software, none with remote
          --allow UUID,…      the trusted applications it may reach, or all
                                                             default: none with linux, otherwise all
          --notify on|off     whether an interrupt wakes threads of the guest, which then sleep during long
                              calls                                           default: on
          --tee-log           also logs the console of the companion's OP-TEE; slow
          --trace FILE        writes what the guest's calls of its TEE do, for ui.perfetto.dev; not with companion
          --metrics           measures these calls, and writes the result on standard error at the end
          --save FILE         saves the VM there at SIGUSR1, and ends; not while it has sessions that cannot move:
                              those of --tee linux and remote, and of applications that do not say how
          --restore FILE      goes on with a saved VM; all other options as then
          --state-key FILE, --state-key keyring:NAME
                              the key that encrypts these files, 32 to 64 bytes, mode 0600
                                                                              default: none, only a checksum
          --log LEVEL         messages on standard error: trace, debug, information, warning, error, none
                                                                              default: warning
          --list              prints the applications of --tee software
          --help              prints this

        On a terminal Ctrl-A x ends the VMM.
        Exit status: 0 the guest powered off or the VMM was stopped, 1 error, 2 wrong usage, 3 the guest crashed.
        """;

    // A kernel needs at least the former; the host limits the addresses of a VM.
    private const int LeastMebibytes = 64;
    private const int MostMebibytes = 16 << 20;

    /// <summary>Reads the command line.</summary>
    /// <param name="arguments">The arguments.</param>
    /// <returns>The options.</returns>
    /// <exception cref="UsageException">It is wrong.</exception>
    public static VmmOptions Parse(ReadOnlySpan<string> arguments)
    {
        VmmOptions options = new() { Kernel = "" };
        while (!arguments.IsEmpty)
        {
            string name = arguments[0];
            if (name is "--tee-log" or "--metrics")
            {
                options = name == "--metrics" ? options with { PrintsMetrics = true }
                    : options with { LogsTee = true };
                arguments = arguments[1..];
                continue;
            }

            options = name switch
            {
                "--kernel" => options with { Kernel = ValueOf(arguments) },
                "--initrd" => options with { Initrd = ValueOf(arguments) },
                "--cmdline" => options with { KernelParameters = ValueOf(arguments) },
                "--disk" => options with { Disk = ValueOf(arguments) },
                "--memory" => options with { MemoryMebibytes = NumberOf(arguments, LeastMebibytes, MostMebibytes) },
                "--cpus" => options with { Cpus = NumberOf(arguments, 1, MemoryMap.MaximumCpus) },
                "--tee" => WithTee(options, ValueOf(arguments)),
                "--storage" => options with { Storage = ValueOf(arguments) },
                "--storage-key" => options with { StorageKey = ValueOf(arguments) },
                "--vm-id" => options with { VmId = UuidOf(arguments[0], ValueOf(arguments)) },
                "--allow" => options with { Access = AccessOf(ValueOf(arguments)) },
                "--notify" => options with { HasNotifications = SwitchOf(arguments) },
                "--trace" => options with { Trace = ValueOf(arguments) },
                "--save" => options with { Save = ValueOf(arguments) },
                "--restore" => options with { Restore = ValueOf(arguments) },
                "--state-key" => options with { StateKey = ValueOf(arguments) },
                "--log" => options with { LogLevel = LevelOf(ValueOf(arguments)) },
                _ => throw new UsageException($"unknown option '{name}'"),
            };
            arguments = arguments[2..];
        }

        CheckStorage(options);
        CheckState(options);
        if (options is { Tee: TeeKind.Companion, Trace: not null } or { Tee: TeeKind.Companion, PrintsMetrics: true })
        {
            throw new UsageException("--trace and --metrics are not for --tee companion, whose calls nobody observes");
        }

        return options.Kernel.Length > 0
            ? options
            : throw new UsageException("--kernel is missing: name an arm64 kernel Image");
    }

    private static void CheckState(VmmOptions options)
    {
        if (options is { Save: null, Restore: null, StateKey: not null })
        {
            throw new UsageException("--state-key is for --save and --restore, which are missing");
        }
    }

    private static void CheckStorage(VmmOptions options)
    {
        if (options.VmId is not null && options.Tee is not (TeeKind.Software or TeeKind.Remote))
        {
            throw new UsageException("--vm-id is for --tee software and --tee remote; other TEEs know no identities");
        }

        if (options.Storage is null)
        {
            if (options.StorageKey is not null)
            {
                throw new UsageException("--storage-key is for --storage, which is missing");
            }

            return;
        }

        if (options.Tee != TeeKind.Software)
        {
            throw new UsageException("--storage is for --tee software; another TEE has storage of its own");
        }

        if (TeeStorage.IsShared(options.Storage) && (options.StorageKey is null || options.VmId is null))
        {
            throw new UsageException("--storage postgres: needs --storage-key and --vm-id too");
        }
    }

    private static string ValueOf(ReadOnlySpan<string> arguments) =>
        arguments.Length > 1 ? arguments[1] : throw new UsageException($"{arguments[0]} needs a value");

    private static int NumberOf(ReadOnlySpan<string> arguments, int lowest, int highest)
    {
        string text = ValueOf(arguments);
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            && number >= lowest
            && number <= highest
            ? number
            : throw new UsageException($"{arguments[0]}: expected a number from {lowest} to {highest}, found '{text}'");
    }

    private static bool SwitchOf(ReadOnlySpan<string> arguments) => ValueOf(arguments) switch
    {
        "on" => true,
        "off" => false,
        string text => throw new UsageException($"{arguments[0]}: expected on or off, found '{text}'"),
    };

    private static VmmOptions WithTee(VmmOptions options, string text)
    {
        const string LinuxWithPath = "linux:";
        const string CompanionWithImage = "companion:";
        const string RemoteWithPath = "remote:";
        return text switch
        {
            "software" => options with { Tee = TeeKind.Software, TeeDevice = null },
            "linux" => options with { Tee = TeeKind.Linux, TeeDevice = null },
            _ when text.StartsWith(LinuxWithPath, StringComparison.Ordinal) && text.Length > LinuxWithPath.Length =>
                options with { Tee = TeeKind.Linux, TeeDevice = text[LinuxWithPath.Length..] },
            _ when text.StartsWith(RemoteWithPath, StringComparison.Ordinal) && text.Length > RemoteWithPath.Length =>
                options with { Tee = TeeKind.Remote, TeeSocket = text[RemoteWithPath.Length..] },
            "companion" => options with { Tee = TeeKind.Companion, TeeImage = null },
            _ when text.StartsWith(CompanionWithImage, StringComparison.Ordinal)
                && text.Length > CompanionWithImage.Length =>
                options with { Tee = TeeKind.Companion, TeeImage = text[CompanionWithImage.Length..] },
            _ => throw new UsageException(
                "--tee: expected linux, linux:PATH, software, remote:PATH, companion or companion:IMAGE, found "
                    + $"'{text}'"),
        };
    }

    private static TeeAccess AccessOf(string text) => text switch
    {
        "all" => TeeAccess.All,
        "none" => TeeAccess.None,
        _ => TeeAccess.Only(text.Split(',').Select(name => UuidOf("--allow", name))),
    };

    private static Guid UuidOf(string option, string text) =>
        Guid.TryParseExact(text, "D", out Guid uuid) && uuid != Guid.Empty
            ? uuid
            : throw new UsageException(option == "--allow"
                ? $"--allow: expected all, none, or UUIDs with commas between them, found '{text}'"
                : $"{option}: expected a UUID that is not zero, found '{text}'");

    // Numbers, which Enum.TryParse takes too, are not meant.
    private static LogLevel LevelOf(string text) =>
        Enum.TryParse(text, ignoreCase: true, out LogLevel level) && !char.IsDigit(text[0])
        ? level
        : throw new UsageException(
            $"--log: expected trace, debug, information, warning, error or none, found '{text}'");
}
