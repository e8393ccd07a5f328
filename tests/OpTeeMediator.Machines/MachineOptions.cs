namespace OpTeeMediator.Machines;

/// <summary>How the machine is to be.</summary>
public sealed record MachineOptions
{
    /// <summary>The disk that the machine has on /files, from <see cref="MachineFiles"/>; none by default. What the
    /// machine writes is lost with it.</summary>
    public string? Disk { get; init; }

    /// <summary>Whether it has TrustZone and a real OP-TEE in it; a machine without has no EL3.</summary>
    public bool HasSecureWorld { get; init; } = true;

    /// <summary>Whether it reaches 127.0.0.1 of this computer, as 10.0.2.2.</summary>
    public bool HasNetwork { get; init; }

    /// <summary>Memory, in qemu's notation.</summary>
    public string Memory { get; init; } = "2G";

    public int Cpus { get; init; } = 2;
}
