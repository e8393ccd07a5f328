using System.Collections.Immutable;
using OpTeeMediator.Kvm.State;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What a saved state has of an OP-TEE's calls, beside its memory and its cores.</summary>
/// <remarks>
/// <code>
/// section "CALL": frequency of the counter (8), vector table (8), awaits a driver (1), calls in flight (4), number of
///                 cores (4), which are on (1 each), suspended calls (256)
/// </code>
/// </remarks>
internal sealed record SavedCalls(
    ulong Frequency, VectorTable Vectors, bool AwaitsDriver, int InFlight, ImmutableArray<bool> CoresOn)
{
    private const string Section = "CALL";

    /// <summary>Writes them.</summary>
    internal void Write(VmStateWriter state, SuspendedCalls suspended)
    {
        using Stream section = state.BeginSection(Section);
        using BinaryWriter writer = new(section);
        writer.Write(Frequency);
        writer.Write(Vectors.Address);
        writer.Write(AwaitsDriver);
        writer.Write(InFlight);
        writer.Write(CoresOn.Length);
        foreach (bool isOn in CoresOn)
        {
            writer.Write(isOn);
        }

        suspended.Save(writer);
    }

    /// <summary>Reads them.</summary>
    /// <exception cref="InvalidDataException">They make no sense, or are those of an OP-TEE with another number of
    /// cores.</exception>
    internal static SavedCalls Read(VmStateReader state, int cores, SuspendedCalls suspended)
    {
        try
        {
            using BinaryReader reader = new(state.OpenSection(Section));
            ulong frequency = reader.ReadUInt64();
            VectorTable vectors = new(reader.ReadUInt64());
            bool awaitsDriver = reader.ReadBoolean();
            int inFlight = reader.ReadInt32();
            if (reader.ReadInt32() != cores)
            {
                throw new InvalidDataException("The saved OP-TEE has another number of cores.");
            }

            ImmutableArray<bool> areOn = [.. Enumerable.Range(0, cores).Select(_ => reader.ReadBoolean())];
            suspended.Restore(reader);
            return new SavedCalls(frequency, vectors, awaitsDriver, inFlight, areOn);
        }
        catch (EndOfStreamException)
        {
            throw new InvalidDataException("The saved state of OP-TEE's calls ends too early.");
        }
    }
}
