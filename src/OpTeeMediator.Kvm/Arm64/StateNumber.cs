namespace OpTeeMediator.Kvm.Arm64;

/// <summary>A number in a saved state that decides how much is allocated.</summary>
internal static class StateNumber
{
    /// <summary>Reads it.</summary>
    /// <exception cref="InvalidDataException">It is negative or too large.</exception>
    internal static int Read(BinaryReader reader, string what, int most)
    {
        int number = reader.ReadInt32();
        return number >= 0 && number <= most
            ? number
            : throw new InvalidDataException($"The saved state has {number} {what}; expected at most {most}.");
    }
}
