using KvmVmm.Migration;
using KvmVmm.Tee;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace KvmVmm.CommandLine;

/// <summary>The options of the command line.</summary>
internal sealed record VmmOptions
{
    private const int UsualSaveWait = 5;

    /// <summary>The kernel's file.</summary>
    public required string Kernel { get; init; }

    /// <summary>The initramfs' file; <see langword="null"/> for none.</summary>
    public string? Initrd { get; init; }

    /// <summary>The kernel's parameters.</summary>
    public string KernelParameters { get; init; } = "console=ttyAMA0";

    /// <summary>The file that is its disk; <see langword="null"/> for none.</summary>
    public string? Disk { get; init; }

    /// <summary>The size of the guest's memory in MiB.</summary>
    public int MemoryMebibytes { get; init; } = 256;

    /// <summary>The number of vCPUs.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Where the guest's trusted applications run.</summary>
    public TeeChoice Tee { get; init; } = new(TeeKind.Linux, null);

    /// <summary>Whether the console of the companion's OP-TEE is logged.</summary>
    public bool LogsTee { get; init; }

    /// <summary>
    /// The database in which the software TEE's applications keep their objects: an SQLite file, or "postgres:" and a
    /// connection string; <see langword="null"/> for none.
    /// </summary>
    public string? Storage { get; init; }

    /// <summary>
    /// The root key of that database: a file, or "keyring:" and a name; <see langword="null"/> for the file beside an
    /// SQLite file.
    /// </summary>
    public string? StorageKey { get; init; }

    /// <summary>The VM's durable identity in that database; <see langword="null"/> if it has no other VM.</summary>
    public Guid? VmId { get; init; }

    /// <summary>
    /// Which trusted applications the guest may reach; <see langword="null"/> for what the TEE grants by itself.
    /// </summary>
    public TeeAccess? Access { get; init; }

    /// <summary>Whether the TEE may notify the guest by an interrupt.</summary>
    public bool HasNotifications { get; init; } = true;

    /// <summary>The file for a trace of the guest's calls of its TEE; <see langword="null"/> for none.</summary>
    public string? Trace { get; init; }

    /// <summary>Whether what was measured of these calls is written at the end.</summary>
    public bool PrintsMetrics { get; init; }

    /// <summary>The file into which the VM is saved at SIGUSR1; <see langword="null"/> for none.</summary>
    public string? Save { get; init; }

    /// <summary>How long its TEE has to finish its work before the VM is saved or moved, in seconds.</summary>
    public int SaveWait { get; init; } = UsualSaveWait;

    /// <summary>Whether sessions that cannot move are dropped; otherwise a VM that has some is not saved or moved.
    /// </summary>
    public bool DropsSessions { get; init; }

    /// <summary>The file of a saved VM that goes on; <see langword="null"/> for one that boots.</summary>
    public string? Restore { get; init; }

    /// <summary>Where the VM moves at SIGUSR2; <see langword="null"/> for nowhere.</summary>
    public MigrationAddress? MigrateTo { get; init; }

    /// <summary>Where a VM comes from that moves; <see langword="null"/> for one that boots.</summary>
    public MigrationAddress? MigrateFrom { get; init; }

    /// <summary>How often at most memory is copied while the guest runs, after the first time.</summary>
    public int MigrationRounds { get; init; } = 8;

    /// <summary>At how few pages that were written meanwhile the guest is stopped earlier.</summary>
    public int MigrationRest { get; init; } = 512;

    /// <summary>Whether each page is compared when the VM moves, before it goes on.</summary>
    public bool ChecksPages { get; init; }

    /// <summary>
    /// The key of these files and of a move: a file, or "keyring:" and a name; <see langword="null"/> for none.
    /// </summary>
    public string? StateKey { get; init; }

    /// <summary>The least important messages that are written.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Warning;

    /// <summary>
    /// What is wrong with options that are right one by one; <see langword="null"/> for nothing.
    /// </summary>
    public string? WrongCombination => this switch
    {
        { VmId: not null, Tee.Kind: not (TeeKind.Software or TeeKind.Remote) } =>
            "--vm-id is for --tee software and --tee remote; other TEEs know no identities",
        { StorageKey: not null, Storage: null } => "--storage-key is for --storage, which is missing",
        { Storage: not null, Tee.Kind: not TeeKind.Software } =>
            "--storage is for --tee software; another TEE has storage of its own",
        { Storage: { } database } when TeeStorage.IsShared(database) && (StorageKey is null || VmId is null) =>
            "--storage postgres: needs --storage-key and --vm-id too",
        { StateKey: not null, Save: null, Restore: null, MigrateTo: null, MigrateFrom: null } =>
            "--state-key is for --save, --restore, --migrate-to and --migrate-from, which are missing",
        { DropsSessions: true, Save: null, MigrateTo: null } =>
            "--save-sessions is for --save and --migrate-to, which are missing",
        { SaveWait: not UsualSaveWait, Save: null, MigrateTo: null } =>
            "--save-wait is for --save and --migrate-to, which are missing",
        { Restore: not null, MigrateFrom: not null } =>
            "a VM comes from --restore or from --migrate-from, not from both",
        { StateKey: null, MigrateTo.IsNetwork: true } or { StateKey: null, MigrateFrom.IsNetwork: true } =>
            "an IP address needs --state-key too: anybody can connect to it",
        { Tee.Kind: TeeKind.Companion, Trace: not null } or { Tee.Kind: TeeKind.Companion, PrintsMetrics: true } =>
            "--trace and --metrics are not for --tee companion, whose calls nobody observes",
        _ => null,
    };
}
