namespace OpTeeMediator.Machines;

/// <summary>How the machine is to be.</summary>
public sealed record MachineOptions
{
    /// <summary>The folder of which the machine gets a copy on /files; none by default.</summary>
    public string? Files { get; init; }

    /// <summary>Whether it has TrustZone and a real OP-TEE in it; a machine without has no EL3.</summary>
    public bool HasSecureWorld { get; init; } = true;

    /// <summary>Memory, in qemu's notation.</summary>
    public string Memory { get; init; } = "2G";

    /// <summary>CPUs.</summary>
    public int Cpus { get; init; } = 2;
}
