using System.Text;
using OpTeeMediator.Kvm.State;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Which copy a round, or the state at its end, belongs to, and which one it is.</summary>
/// <remarks>
/// <code>
/// section "COPY": the copy's random number (16), how many rounds came before (4), what follows (1)
/// </code>
/// So none can be left out, repeated, or come from another copy.
/// </remarks>
internal readonly record struct CopyMark(Guid Copy, int Rounds, CompanionContent Content)
{
    private const string Section = "COPY";
    private const int NumberSize = 16;

    /// <summary>Writes it.</summary>
    internal void Write(VmStateWriter state)
    {
        using Stream section = state.BeginSection(Section);
        using BinaryWriter writer = new(section, Encoding.UTF8, leaveOpen: true);
        writer.Write(Copy.ToByteArray(bigEndian: true));
        writer.Write(Rounds);
        writer.Write((byte)Content);
    }

    /// <summary>Reads it.</summary>
    /// <exception cref="InvalidDataException">It makes no sense.</exception>
    internal static CopyMark Read(VmStateReader state)
    {
        using BinaryReader reader = new(state.OpenSection(Section));
        try
        {
            byte[] number = reader.ReadBytes(NumberSize);
            CopyMark mark = new(
                number.Length == NumberSize ? new Guid(number, bigEndian: true) : throw new EndOfStreamException(),
                reader.ReadInt32(), (CompanionContent)reader.ReadByte());
            return mark.Content <= CompanionContent.Rest
                ? mark
                : throw new InvalidDataException("A round of OP-TEE's copy has a content that makes no sense.");
        }
        catch (EndOfStreamException)
        {
            throw new InvalidDataException("A round of OP-TEE's copy ends too early.");
        }
    }
}
