namespace OpTeeMediator.Machines;

/// <summary>How a guest is to be.</summary>
public sealed record GuestOptions
{
    /// <summary>
    /// Its kernel: <c>default</c>, the machine's own Linux; <c>6.12</c>; <c>6.1</c>; or <c>kexec</c>: the
    /// machine's own with another one in /boot.
    /// </summary>
    public string Kernel { get; init; } = "default";

    /// <summary>Its memory in MiB.</summary>
    public int Memory { get; init; } = 256;

    /// <summary>The file on the machine that is its disk; empty for none.</summary>
    public string Disk { get; init; } = "";

    /// <summary>Its TEE, as the VMM's option says it.</summary>
    public string Tee { get; init; } = "linux";

    /// <summary>The trusted applications it may reach, as the VMM's option says it.</summary>
    public string Allow { get; init; } = "all";

    public int Cpus { get; init; } = 2;

    /// <summary>Whether its TEE notifies it by an interrupt.</summary>
    public bool Notifications { get; init; } = true;

    /// <summary>What the VMM logs.</summary>
    public string Log { get; init; } = "warning";

    /// <summary>Further options of the VMM.</summary>
    public string More { get; init; } = "";

    /// <summary>A command that runs the VMM, such as one that takes rights from it.</summary>
    public string Wrapper { get; init; } = "";
}
