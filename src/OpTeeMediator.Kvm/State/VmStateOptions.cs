using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.State;

/// <summary>Whose state is saved or restored, and what protects it.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
[Experimental("OPTEE001")]
public sealed record VmStateOptions
{
    /// <summary>The least size of a key in bytes.</summary>
    public const int MinimumKeySize = 32;

    /// <summary>The most bytes of a challenge.</summary>
    public const int MaximumChallengeSize = 64;

    /// <summary>The VM's durable identity: a state of another VM is refused. The default, zero, for a VM that has
    /// none.</summary>
    public Guid VmIdentity { get; init; }

    /// <summary>The key, <see cref="MinimumKeySize"/> bytes or more: then everything is encrypted and authenticated
    /// (AES-256-GCM). Empty for none: then a checksum tells of damage, and who writes the file decides what the VM
    /// does.</summary>
    /// <remarks>Who restores with a key refuses a state without encryption, and the reverse.</remarks>
    public ReadOnlyMemory<byte> Key { get; init; }

    /// <summary>For a state that is sent: random bytes that the reader has chosen and told the writer, at most
    /// <see cref="MaximumChallengeSize"/>, so that a state which somebody has recorded is refused when it is sent
    /// again. Empty for a file.</summary>
    public ReadOnlyMemory<byte> Challenge { get; init; }

    internal void Validate()
    {
        if (Challenge.Length > MaximumChallengeSize)
        {
            throw new ArgumentException(
                $"{nameof(VmStateOptions)}.{nameof(Challenge)} has {Challenge.Length} bytes; expected"
                    + $" {MaximumChallengeSize} or less.");
        }

        if (Key.Length is > 0 and < MinimumKeySize)
        {
            throw new ArgumentException(
                $"{nameof(VmStateOptions)}.{nameof(Key)} has {Key.Length} bytes; expected {MinimumKeySize} or more, or"
                    + " none.");
        }
    }
}
