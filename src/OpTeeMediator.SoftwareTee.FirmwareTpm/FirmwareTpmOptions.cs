namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>How the firmware TPMs of VMs are run and where they keep their state.</summary>
/// <param name="Directory">
/// A folder of the host, made if it is missing. Each VM's TPM has a folder in it, named by the VM's
/// <see cref="Backends.TeeVirtualMachine.Identity"/>.
/// </param>
/// <remarks>Immutable, hence thread-safe.</remarks>
public sealed record FirmwareTpmOptions(string Directory)
{
    /// <summary>swtpm's program: a path, or a name that is looked up in PATH. Default <c>swtpm</c>.</summary>
    public string Executable { get; init; } = "swtpm";

    /// <summary>
    /// The user that swtpm becomes and that gets the VM's folder; the VMM must be root then.
    /// <see langword="null"/>, the default: the VMM's own user.
    /// </summary>
    public string? User { get; init; }

    /// <summary>
    /// How long swtpm may take for a command, more than 0 and at most a day; then it is ended, and the TPM fails until
    /// the VM is reset. Default 2 minutes: the longest commands, which make RSA keys, take seconds.
    /// </summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>How long swtpm may take to start, and to give its state when the VM is saved; more than 0 and at most a
    /// day. Default 10 seconds.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromSeconds(10);
}
