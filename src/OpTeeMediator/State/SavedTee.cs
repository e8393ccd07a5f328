using System.Buffers.Binary;

namespace OpTeeMediator.State;

/// <summary>Which of this library's TEEs has saved a state, by the first four bytes of its part.</summary>
/// <remarks>Each TEE has a form of its own, and would read another's as numbers that mean nothing.</remarks>
internal static class SavedTee
{
    /// <summary>"OPTS": applications in the VMM's process.</summary>
    public const uint Software = 0x5354_504f;

    /// <summary>"OPTR": a TEE server's client.</summary>
    public const uint Server = 0x5254_504f;

    /// <summary>What the TEE is, and its backend.</summary>
    public static string Describe(uint mark) => mark switch
    {
        Software => "a software TEE in the VMM's process (SoftwareTeeBackend)",
        Server => "a TEE server (RemoteTeeBackend)",
        _ => "a TEE that this library does not have",
    };

    /// <inheritdoc cref="Describe(uint)"/>
    public static string Describe(ReadOnlySpan<byte> state) =>
        Describe(BinaryPrimitives.TryReadUInt32LittleEndian(state, out uint mark) ? mark : 0);

    /// <summary>Reads the mark.</summary>
    /// <exception cref="OpTeeStateException">It is another TEE's.</exception>
    public static void Check(StateReader reader, uint expected)
    {
        uint found = reader.ReadUInt32();
        if (found != expected)
        {
            throw Refuse(Describe(found), Describe(expected));
        }
    }

    /// <summary>Says that a VM has another TEE than its state needs.</summary>
    public static OpTeeStateException Refuse(string saved, string present) => new(
        $"The VM was saved with {saved}, and now it has {present}: give it the backend that it had when it was saved.");
}
