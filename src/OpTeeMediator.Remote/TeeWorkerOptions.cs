using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Remote;

/// <summary>How a <see cref="TeeServer"/> gives each VM a process of its own. Every property has a default.</summary>
/// <remarks>
/// The program must call <see cref="TeeWorker.Run"/> when <see cref="TeeWorker.IsWorker"/> says so. The process gets
/// the server's standard output and error for its log. Immutable after construction, hence thread-safe.
/// </remarks>
public sealed record TeeWorkerOptions
{
    /// <summary>The program. Default: that of this process.</summary>
    public string FileName { get; init; } = Environment.ProcessPath ?? "";

    /// <summary>Its arguments; the server adds two. Default: none.</summary>
    /// <remarks>A program that <c>dotnet</c> runs needs the path of its assembly here.</remarks>
    public IReadOnlyList<string> Arguments { get; init; } = [];

    /// <summary>
    /// The limit of the process' managed heap in bytes (DOTNET_GCHeapHardLimit): 16 MiB to 1 TiB. Default 256 MiB. Code
    /// that exceeds it gets an <see cref="OutOfMemoryException"/>. Only cgroups limit memory that is not managed.
    /// </summary>
    public long HeapLimit { get; init; } = 256 << 20;

    /// <summary>How many files the process may have open (RLIMIT_NOFILE): 64 to 1048576. Default 1024.</summary>
    public int MaximumFiles { get; init; } = 1024;

    /// <summary>
    /// As which user the processes run if the server runs as root; without effect otherwise. Default <c>nobody</c>;
    /// <see langword="null"/> leaves them root's rights, which nothing needs.
    /// </summary>
    public string? UserName { get; init; } = "nobody";

    /// <summary>
    /// Whether a process that cannot filter its system calls (seccomp, by libseccomp 2) serves no VM. Default: no; then
    /// one log entry says that there is no filter, and why.
    /// </summary>
    public bool RequiresSystemCallFilter { get; init; }

    /// <summary>
    /// Whether the filter permits a process to start programs, as a TEE with firmware TPMs needs, and to send signals
    /// to other processes of its user. Default: no.
    /// </summary>
    public bool MayStartPrograms { get; init; }

    internal void Validate()
    {
        ArgumentException.ThrowIfNullOrEmpty(FileName);
        ArgumentNullException.ThrowIfNull(Arguments);
        OptionRange.Check(this, HeapLimit, 16 << 20, 1L << 40);
        OptionRange.Check(this, MaximumFiles, 64, 1 << 20);
    }
}
