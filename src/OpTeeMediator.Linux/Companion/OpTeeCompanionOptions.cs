using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>How one VM's <see cref="OpTeeCompanion"/> behaves. All but the image has a default.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
[Experimental("OPTEE001")]
public sealed record OpTeeCompanionOptions
{
    /// <summary>The OP-TEE.</summary>
    public required OpTeeImage Image { get; init; }

    /// <summary>What the image was built for.</summary>
    public OpTeePlatform Platform { get; init; } = OpTeePlatform.QemuArmV8;

    /// <summary>The VM's name in logs.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>How many of the guest's vCPUs can be in OP-TEE at the same time: 1 to
    /// <see cref="OpTeePlatform.Cores"/>, 0 for that. Default 0. A guest may have more vCPUs; a call of another one
    /// waits until a core is free.</summary>
    public int Cores { get; init; }

    /// <summary>How long a yielding call keeps a vCPU from its interrupts: 100 µs to 1 s. Default 4 ms.</summary>
    /// <remarks>Longer is fewer switches, and later interrupts. The default is one timer tick of a Linux with 250 of
    /// them in a second.</remarks>
    public TimeSpan Quantum { get; init; } = TimeSpan.FromMilliseconds(4);

    /// <summary>An edge-triggered interrupt of the guest for asynchronous notifications; <see langword="null"/> for
    /// none: the guest is then not offered any.</summary>
    /// <remarks>The VMM's device tree must name it (<see cref="OpTeeCompanion.DeviceTreeNode"/>), otherwise Linux's
    /// driver does not start.</remarks>
    public IInterruptLine? NotificationInterrupt { get; init; }

    /// <summary>Whether what OP-TEE writes to its UART is logged, at the level that each line begins with. Default
    /// <see langword="false"/>.</summary>
    /// <remarks>For finding faults: each character is an exit of the VM, so that the start takes several times as long,
    /// and OP-TEE then lies at the same virtual addresses each time.</remarks>
    public bool LogsConsole { get; init; }

    /// <summary>How long OP-TEE may keep a core without answering before it counts as failed: 500 ms to 10 minutes, and
    /// at least two quanta. Default 5 s.</summary>
    /// <remarks>A healthy one answers after a quantum, or when a fast call is done; a panicked one never.</remarks>
    public TimeSpan AnswerDeadline { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long OP-TEE may take to start: 1 s to 10 minutes. Default 30 s.</summary>
    public TimeSpan StartDeadline { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Where to log. Default nowhere.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    internal int CoreCount => Cores == 0 ? Platform.Cores : Cores;

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(Image);
        ArgumentNullException.ThrowIfNull(Platform);
        ArgumentNullException.ThrowIfNull(Name);
        ArgumentNullException.ThrowIfNull(LoggerFactory);
        Platform.Validate($"{nameof(OpTeeCompanionOptions)}.{nameof(Platform)}");
        if (Cores < 0 || Cores > Platform.Cores)
        {
            throw new ArgumentOutOfRangeException(
                nameof(Cores), Cores,
                $"{nameof(OpTeeCompanionOptions)}.{nameof(Cores)} must be 0 to {Platform.Cores}, for which the image"
                    + $" was built.");
        }

        OptionRange.Check(this, Quantum, TimeSpan.FromMicroseconds(100), TimeSpan.FromSeconds(1));
        OptionRange.Check(this, AnswerDeadline, TimeSpan.FromMilliseconds(500), TimeSpan.FromMinutes(10));
        OptionRange.Check(this, StartDeadline, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10));
        if (AnswerDeadline < Quantum * 2)
        {
            throw new ArgumentOutOfRangeException(
                nameof(AnswerDeadline), AnswerDeadline,
                $"{nameof(OpTeeCompanionOptions)}.{nameof(AnswerDeadline)} must be at least twice the {nameof(Quantum)}"
                    + $" {Quantum}, within which a healthy OP-TEE answers.");
        }

        ulong imageStart = (Image.Address ?? Platform.SecureMemory.Start).Value;
        if (!Platform.SecureMemory.Contains(imageStart, (ulong)Image.Length))
        {
            throw new ArgumentException(
                $"The image of {Image.Length} bytes belongs at 0x{imageStart:x}, which is not in the platform's"
                    + $" secure memory {Platform.SecureMemory}: name the platform it was built for.");
        }
    }
}
